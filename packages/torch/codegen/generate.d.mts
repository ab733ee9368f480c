/** Path relative to the package → content, of every generated file. */
export declare function generate(): Map<string, string>;
