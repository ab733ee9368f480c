export interface TableParameter {
  type: string;
  name: string;
  default?: string;
  keyword: boolean;
}

export interface TableOperation {
  schema: string;
  cppName: string;
  overload: string;
  tsName: string;
  parameters: TableParameter[];
  returns: { type: string; name: string }[];
  method: boolean;
  methodOnly: boolean;
}

/** Throws an Error that begins with `operations.txt:LINE: `. */
export declare function parseTable(text: string): TableOperation[];
