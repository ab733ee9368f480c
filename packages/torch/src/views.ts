// Operations whose result shares its operand's memory: they move nothing, and a write through one is seen by the other.

/** Always a view; reshape and flatten where memory order allows. */
export const VIEWS: ReadonlySet<string> = new Set([
  ...['view', 'view_as', 'reshape', 'expand', 'expand_as', 'broadcast_to', 'permute', 'transpose', 't', 'movedim'],
  ...['squeeze', 'unsqueeze', 'flatten', 'unflatten', 'select', 'narrow', 'slice', 'split', 'split_with_sizes'],
  ...['chunk', 'unbind', 'unfold', 'diagonal', 'detach'],
]);

/** Also these where there is nothing to do. */
export const MAY_SHARE_MEMORY: ReadonlySet<string> = new Set([
  ...VIEWS,
  'contiguous',
  'to',
  'type_as',
  'dropout',
  'meshgrid',
  'pad',
]);
