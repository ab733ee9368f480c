/**
 * A good call of every row of the operation table, with the values that it must give (results one after the other),
 * worked out by hand or with plain JavaScript. Calls without values are random or unfilled; operations.test.ts checks
 * what can be said of those. The hostile tests damage the arguments of these same calls.
 */

import * as T from './index.ts';

export type Sample = readonly [run: () => T.Result, values?: readonly (number | boolean)[]];

const f = (values: T.NestedNumbers) => T.tensor(values);
const i = (values: T.NestedNumbers) => T.tensor(values, 'int64');
const z = () => T.zeros([2]);
/** [[1, 2], [3, 4]], and as an image [1, 1, 2, 2]. */
const m = () => f([[1, 2], [3, 4]]); // biome-ignore format: one line reads as the matrix
const image = () => m().reshape([1, 1, 2, 2]);
const mask = () => T.tensor([[1, 0], [0, 1]], 'bool'); // biome-ignore format: as above
const bits = (...values: number[]) => T.tensor(values, 'bool');
const A = [1, -2, 4];
const C = [2, 4, -8];
const a = () => f(A);
const c = () => f(C);
const LN3 = Math.log(3);

/** Calls an operation that returns nothing and gives the tensor that it changed. */
function changed(tensor: T.Tensor, change: (tensor: T.Tensor) => void): T.Tensor {
  change(tensor);
  return tensor;
}

const creation: Sample[] = [
  [() => T.zeros([2]), [0, 0]],
  [() => T.ones([2]), [1, 1]],
  [() => T.empty([2])],
  [() => T.full([2], 7), [7, 7]],
  [() => T.rand([3])],
  [() => T.randn([3])],
  [() => T.randint(2, 3, [2]), [2, 2]],
  [() => T.randperm(1), [0]],
  [() => T.arange(0, 6, 2), [0, 2, 4]],
  [() => T.linspace(0, 1, 3), [0, 0.5, 1]],
  [() => T.eye(2), [1, 0, 0, 1]],
  [() => T.zerosLike(a()), [0, 0, 0]],
  [() => T.onesLike(a()), [1, 1, 1]],
  [() => T.emptyLike(a())],
  [() => T.fullLike(a(), 5), [5, 5, 5]],
  [() => T.randLike(a())],
  [() => T.randnLike(a())],
  [() => T.clone(a()), A],
  [() => T.uniform_(z(), 2, 2), [2, 2]],
  [() => T.normal_(z(), 3, 0), [3, 3]],
  [() => T.exponential_(z())],
  [() => T.bernoulli_(z(), 1), [1, 1]],
  [() => T.random_(z(), 4, 5), [4, 4]],
  [() => T.toDtype(f([1.7]), 'int64'), [1]],
  [() => T.contiguous(m().t()), [1, 3, 2, 4]],
  [() => T.detach(a()), A],
  [() => T.typeAs(f([1.7]), i([0])), [1]],
];

const shape: Sample[] = [
  [() => T.view(m(), [4]), [1, 2, 3, 4]],
  [() => T.reshape(m(), [4]), [1, 2, 3, 4]],
  [() => T.viewAs(m(), T.zeros([4])), [1, 2, 3, 4]],
  [() => T.expand(f([[1], [2]]), [2, 2]), [1, 1, 2, 2]],
  [() => T.expandAs(f([[1], [2]]), m()), [1, 1, 2, 2]],
  [() => T.permute(m(), [1, 0]), [1, 3, 2, 4]],
  [() => T.transpose(m(), 0, 1), [1, 3, 2, 4]],
  [() => T.t(m()), [1, 3, 2, 4]],
  [() => T.squeeze(f([[1]]), 0), [1]],
  [() => T.unsqueeze(a(), 0), A],
  [() => T.flatten(m()), [1, 2, 3, 4]],
  [() => T.unflatten(f([1, 2, 3, 4]), 0, [2, 2]), [1, 2, 3, 4]],
  [() => T.repeat(f([1, 2]), [2]), [1, 2, 1, 2]],
  [() => T.repeatInterleave(f([1, 2]), 2), [1, 1, 2, 2]],
  [() => T.tile(f([1, 2]), [2]), [1, 2, 1, 2]],
  [() => T.flip(m(), [1]), [2, 1, 4, 3]],
  [() => T.roll(f([1, 2, 3]), [1], [0]), [3, 1, 2]],
  [() => T.cat([f([1, 2]), f([3])]), [1, 2, 3]],
  [() => T.stack([f([1, 2]), f([3, 4])], 1), [1, 3, 2, 4]],
  [() => T.split(f([1, 2, 3]), 2), [1, 2, 3]],
  [() => T.splitWithSizes(f([1, 2, 3]), [1, 2]), [1, 2, 3]],
  [() => T.chunk(f([1, 2, 3]), 2), [1, 2, 3]],
  [() => T.unbind(m(), 1), [1, 3, 2, 4]],
  [() => T.unfold(f([1, 2, 3]), 0, 2, 1), [1, 2, 2, 3]],
  [() => T.movedim(m(), [0], [1]), [1, 3, 2, 4]],
  [() => T.broadcastTo(f([1, 2]), [2, 2]), [1, 2, 1, 2]],
  [() => T.tril(m()), [1, 0, 3, 4]],
  [() => T.triu(m()), [1, 2, 0, 4]],
  [() => T.diagonal(m()), [1, 4]],
  [() => T.diag(f([1, 2])), [1, 0, 0, 2]],
  [() => T.constantPadNd(f([1]), [1, 2], 9), [9, 1, 9, 9]],
  [() => T.reflectionPad2d(image(), [1, 0, 0, 0]), [2, 1, 2, 4, 3, 4]],
  [() => T.replicationPad2d(image(), [1, 0, 0, 0]), [1, 1, 2, 3, 3, 4]],
];

const indexing: Sample[] = [
  [() => T.select(m(), 0, 1), [3, 4]],
  [() => T.narrow(f([1, 2, 3]), 0, 1, 2), [2, 3]],
  [() => T.slice(f([0, 1, 2, 3, 4]), 0, 1, 5, 2), [1, 3]],
  [() => T.index(m(), [undefined, i([1])]), [2, 4]],
  [() => T.indexPut_(z(), [i([1, 1])], f([5, 6]), true), [0, 11]],
  [() => T.indexSelect(m(), 1, i([1])), [2, 4]],
  [() => T.indexAdd(z(), 0, i([1, 1]), f([1, 2])), [0, 3]],
  [() => T.indexCopy(z(), 0, i([1]), f([8])), [0, 8]],
  [() => T.indexCopy_(z(), 0, i([1]), f([8])), [0, 8]],
  [() => T.gather(m(), 1, i([[1], [0]])), [2, 3]],
  [() => T.scatter(z(), 0, i([1]), f([5])), [0, 5]],
  [() => T.scatterValue(z(), 0, i([1]), 5), [0, 5]],
  [() => T.scatter_(z(), 0, i([1]), f([5])), [0, 5]],
  [() => T.scatterValue_(z(), 0, i([1]), 5), [0, 5]],
  [() => T.scatterAdd(z(), 0, i([1, 1]), f([1, 2])), [0, 3]],
  [() => T.maskedFill(m(), mask(), f(9)), [9, 2, 3, 9]],
  [() => T.maskedFill(m(), mask(), 9), [9, 2, 3, 9]],
  [() => T.maskedFill_(m(), mask(), 9), [9, 2, 3, 9]],
  [() => T.maskedSelect(m(), mask()), [1, 4]],
  [() => T.maskedScatter(m(), mask(), f([7, 8])), [7, 2, 3, 8]],
  [() => T.takeAlongDim(m(), i([[1], [0]]), 1), [2, 3]],
  [() => T.where(mask(), m(), T.zeros([2, 2])), [1, 0, 0, 4]],
  [() => T.nonzero(f([0, 5])), [1]],
  [() => T.oneHot(i([1, 0]), 2), [0, 1, 1, 0]],
  [() => T.bincount(i([0, 2, 2])), [1, 0, 2]],
];

const arithmetic: Sample[] = [
  [() => T.add(a(), c(), { alpha: 2 }), [5, 6, -12]],
  [() => T.add(a(), 1, { alpha: 2 }), [3, 0, 6]],
  [() => T.add_(a(), c()), [3, 2, -4]],
  [() => T.add_(a(), 1), [2, -1, 5]],
  [() => T.sub(a(), c()), [-1, -6, 12]],
  [() => T.sub(a(), 1, { alpha: 2 }), [-1, -4, 2]],
  [() => T.sub_(a(), c()), [-1, -6, 12]],
  [() => T.sub_(a(), 1), [0, -3, 3]],
  [() => T.rsub(a(), 1), [0, 3, -3]],
  [() => T.mul(a(), c()), [2, -8, -32]],
  [() => T.mul(a(), -0.5), [-0.5, 1, -2]],
  [() => T.mul_(a(), c()), [2, -8, -32]],
  [() => T.mul_(a(), 2), [2, -4, 8]],
  [() => T.div(a(), c()), [0.5, -0.5, -0.5]],
  [() => T.div(a(), 2), [0.5, -1, 2]],
  [() => T.div_(a(), c()), [0.5, -0.5, -0.5]],
  [() => T.div_(a(), 2), [0.5, -1, 2]],
  [() => T.floorDivide(f([7, -7]), f([2, 2])), [3, -4]],
  [() => T.floorDivide(f([7, -7]), 2), [3, -4]],
  [() => T.remainder(f([7, -7]), f([4, 4])), [3, 1]],
  [() => T.remainder(f([7, -7]), 4), [3, 1]],
  [() => T.pow(a(), f([3, 2, 0.5])), [1, 4, 2]],
  [() => T.pow(a(), 2), [1, 4, 16]],
  [() => T.addcmul(a(), c(), c(), { value: 0.5 }), [3, 6, 36]],
  [() => T.addcmul_(a(), c(), c()), [5, 14, 68]],
  [() => T.addcdiv(a(), c(), c(), { value: 3 }), [4, 1, 7]],
  [() => T.lerp(a(), c(), f([0, 0.5, 1])), [1, 1, -8]],
  [() => T.lerp(a(), c(), 0.5), [1.5, 1, -2]],
  [() => T.lerp_(a(), c(), 0.25), [1.25, -0.5, 1]],
  [() => T.copy_(a(), c()), C],
  [() => T.fill_(a(), 3), [3, 3, 3]],
  [() => T.zero_(a()), [0, 0, 0]],
  [() => T.neg(a()), [-1, 2, -4]],
  [() => T.abs(a()), [1, 2, 4]],
  [() => T.sign(a()), [1, -1, 1]],
  [() => T.exp(a()), A.map(Math.exp)],
  [() => T.expm1(a()), A.map(Math.expm1)],
  [() => T.log(f([1, 10])), [0, Math.log(10)]],
  [() => T.log1p(f([1, 10])), [1, 10].map(Math.log1p)],
  [() => T.log2(f([1, 8])), [0, 3]],
  [() => T.sqrt(f([4, 9])), [2, 3]],
  [() => T.rsqrt(f([4, 16])), [0.5, 0.25]],
  [() => T.square(a()), [1, 4, 16]],
  [() => T.reciprocal(a()), [1, -0.5, 0.25]],
  [() => T.sin(a()), A.map(Math.sin)],
  [() => T.cos(a()), A.map(Math.cos)],
  [() => T.tanh(a()), A.map(Math.tanh)],
  [() => T.erf(f([0.5, -0.5])), [0.5204998778, -0.5204998778]],
  [() => T.floor(f([1.5, -1.5])), [1, -2]],
  [() => T.ceil(f([1.5, -1.5])), [2, -1]],
  [() => T.round(f([1.5, 2.5, -1.2])), [2, 2, -1]],
  [() => T.trunc(f([1.5, -1.5])), [1, -1]],
  [() => T.clamp(a(), 0, 2), [1, 0, 2]],
  [() => T.clamp_(a(), undefined, 0), [0, -2, 0]],
  [() => T.maximum(a(), c()), [2, 4, 4]],
  [() => T.minimum(a(), c()), [1, -2, -8]],
  [() => T.nanToNum(f([Number.NaN, Number.POSITIVE_INFINITY, 3]), 1, 2), [1, 2, 3]],
];

const x = () => f([1, 2, 3]);
const twos = () => f([2, 2, 2]);
const comparison: Sample[] = [
  [() => T.eq(x(), twos()), [0, 1, 0]],
  [() => T.eq(x(), 2), [0, 1, 0]],
  [() => T.ne(x(), twos()), [1, 0, 1]],
  [() => T.ne(x(), 2), [1, 0, 1]],
  [() => T.lt(x(), twos()), [1, 0, 0]],
  [() => T.lt(x(), 2), [1, 0, 0]],
  [() => T.le(x(), twos()), [1, 1, 0]],
  [() => T.le(x(), 2), [1, 1, 0]],
  [() => T.gt(x(), twos()), [0, 0, 1]],
  [() => T.gt(x(), 2), [0, 0, 1]],
  [() => T.ge(x(), twos()), [0, 1, 1]],
  [() => T.ge(x(), 2), [0, 1, 1]],
  [() => T.logicalAnd(bits(0, 0, 1, 1), bits(0, 1, 0, 1)), [0, 0, 0, 1]],
  [() => T.logicalOr(bits(0, 0, 1, 1), bits(0, 1, 0, 1)), [0, 1, 1, 1]],
  [() => T.logicalXor(bits(0, 0, 1, 1), bits(0, 1, 0, 1)), [0, 1, 1, 0]],
  [() => T.logicalNot(bits(0, 1)), [1, 0]],
  [() => T.isnan(f([1, Number.NaN, Number.POSITIVE_INFINITY])), [0, 1, 0]],
  [() => T.isinf(f([1, Number.NaN, Number.POSITIVE_INFINITY])), [0, 0, 1]],
  [() => T.isfinite(f([1, Number.NaN, Number.POSITIVE_INFINITY])), [1, 0, 0]],
  [() => T.equal(x(), twos()), [false]],
  [() => T.allclose(x(), f([1, 2, 3.0000001])), [true]],
];

const reduction: Sample[] = [
  [() => T.sum(m(), [0]), [4, 6]],
  [() => T.mean(m()), [2.5]],
  [() => T.var_(m()), [5 / 3]],
  [() => T.std(m(), undefined, { correction: 0 }), [Math.sqrt(1.25)]],
  [() => T.prod(m()), [24]],
  [() => T.amax(m(), [1]), [2, 4]],
  [() => T.amin(m(), [1], true), [1, 3]],
  [() => T.maxDim(m(), 1), [2, 4, 1, 1]],
  [() => T.minDim(m(), 0), [1, 2, 0, 0]],
  [() => T.argmax(m()), [3]],
  [() => T.argmin(m(), 1), [0, 0]],
  [() => T.any(bits(0, 1)), [1]],
  [() => T.all(bits(0, 1)), [0]],
  [() => T.cumsum(x(), 0), [1, 3, 6]],
  [() => T.cumprod(x(), 0), [1, 2, 6]],
  [() => T.logsumexp(f([[0, LN3]]), [1]), [Math.log(4)]],
  [() => T.norm(m(), 1, [0, 1]), [10]],
  [() => T.linalgVectorNorm(f([3, 4])), [5]],
  [() => T.countNonzero(f([[0, 2], [3, 4]]), [0]), [1, 2]], // biome-ignore format: the matrix
  [() => T.sort(f([3, 1, 2])), [1, 2, 3, 1, 2, 0]],
  [() => T.argsort(f([3, 1, 2]), { descending: true }), [0, 2, 1]],
  [() => T.topk(f([3, 1, 2]), 2), [3, 2, 0, 2]],
  [() => T.kthvalue(f([3, 1, 2]), 2), [2, 2]],
  [() => T.searchsorted(f([1, 3, 5]), f([2, 5])), [1, 2]],
  [() => T.uniqueConsecutive(f([1, 1, 2]), true, true), [1, 2, 0, 0, 1, 2, 1]],
];

const diagonal = (p: number, q: number) => T.diag(f([p, q]));
const linearAlgebra: Sample[] = [
  [() => T.matmul(m(), m()), [7, 10, 15, 22]],
  [() => T.mm(m(), m()), [7, 10, 15, 22]],
  [() => T.bmm(m().unsqueeze(0), m().unsqueeze(0)), [7, 10, 15, 22]],
  [() => T.addmm(m(), m(), m(), { beta: 2 }), [9, 14, 21, 30]],
  [() => T.baddbmm(m().unsqueeze(0), m().unsqueeze(0), m().unsqueeze(0)), [8, 12, 18, 26]],
  [() => T.linear(f([1, 2]), m(), f([1, 1])), [6, 12]],
  [() => T.einsum('ij,jk->ki', [m(), m()]), [7, 15, 10, 22]],
  [() => T.cdist(f([[0, 0]]), f([[3, 4]])), [5]],
  [() => T.trace(m()), [5]],
  [() => T.linalgEigh(f([[2, 1], [1, 2]]))[0], [1, 3]], // biome-ignore format: the matrix
  [() => T.linalgEigvalsh(f([[2, 1], [1, 2]])), [1, 3]], // biome-ignore format: the matrix
  [() => T.linalgCholesky(f([[4, 2], [2, 2]])), [2, 0, 1, 1]], // biome-ignore format: the matrix
  [() => T.matmul(...T.linalgQr(m())), [1, 2, 3, 4]],
  [() => T.linalgInv(diagonal(2, 4)), [0.5, 0, 0, 0.25]],
  [() => T.linalgSolve(diagonal(2, 4), m()), [0.5, 1, 0.75, 1]],
  [() => T.linalgSvd(diagonal(2, 3))[1], [3, 2]],
];

const geluTanh = (v: number) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
const none = undefined;
const networks: Sample[] = [
  [() => T.embedding(m(), i([1])), [3, 4]],
  [() => T.conv1d(f([[[1, 2, 3]]]), f([[[1, 1]]])), [3, 5]],
  [() => T.conv2d(image(), T.ones([1, 1, 2, 2]), f([1])), [11]],
  [() => T.convTranspose2d(T.full([1, 1, 1, 1], 2), image()), [2, 4, 6, 8]],
  [() => T.avgPool2d(image(), [2]), [2.5]],
  [() => T.maxPool2d(image(), [2]), [4]],
  [() => T.adaptiveAvgPool2d(image(), [1, 1]), [2.5]],
  [() => T.upsampleNearest2d(image(), [2, 4]), [1, 1, 2, 2, 3, 3, 4, 4]],
  [() => T.upsampleBilinear2d(image(), [3, 3], true), [1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4]],
  [() => T.upsampleBicubic2d(image(), [2, 2], false), [1, 2, 3, 4]],
  [() => T.pixelShuffle(f([1, 2, 3, 4]).reshape([1, 4, 1, 1]), 2), [1, 2, 3, 4]],
  [() => T.pixelUnshuffle(image(), 2), [1, 2, 3, 4]],
  [() => T.layerNorm(f([[1, 3]]), [2], f([2, 2]), f([1, 1]), 0), [-1, 3]],
  [() => T.groupNorm(f([[[1], [3]]]), 1, none, none, 0), [-1, 1]],
  [() => T.rmsNorm(f([[3, 4]]), [2], none, 0), [3 / Math.sqrt(12.5), 4 / Math.sqrt(12.5)]],
  [() => T.batchNorm(f([[1], [3]]), none, none, none, none, true, 0.1, 0), [-1, 1]],
  [() => T.dropout(a(), 0.5, false), A],
  [() => T.scaledDotProductAttention(f([[[1]]]), f([[[LN3], [0]]]), f([[[4], [8]]])), [5]],
  [() => T.relu(a()), [1, 0, 4]],
  [() => T.relu_(a()), [1, 0, 4]],
  [() => T.leakyRelu(a(), 0.1), [1, -0.2, 4]],
  [() => T.gelu(a(), { approximate: 'tanh' }), A.map(geluTanh)],
  [() => T.silu(a()), A.map((v) => v * sigmoid(v))],
  [() => T.silu_(a()), A.map((v) => v * sigmoid(v))],
  [() => T.sigmoid(a()), A.map(sigmoid)],
  [() => T.softplus(a()), A.map((v) => Math.log1p(Math.exp(v)))],
  [() => T.softmax(f([0, LN3]), 0), [0.25, 0.75]],
  [() => T.logSoftmax(f([0, LN3]), 0), [Math.log(0.25), Math.log(0.75)]],
  [() => T.crossEntropyLoss(f([[0, LN3]]), i([1])), [-Math.log(0.75)]],
  [() => T.nllLoss(f([[-1, -2]]), i([1])), [2]],
  [() => T.mseLoss(a(), c()), [181 / 3]],
  [() => T.l1Loss(a(), c(), 2), [19]],
  [() => T.smoothL1Loss(a(), c()), [(0.5 + 5.5 + 11.5) / 3]],
  [() => T.binaryCrossEntropyWithLogits(f([0]), f([1])), [Math.LN2]],
];

const adamw = { lr: 0.1, beta1: 0.9, beta2: 0.99, weightDecay: 0, eps: 1e-8 };
const groups: Sample[] = [
  // The first step of Adam moves by the learning rate against the gradient's sign.
  [() => changed(f([1, 1]), (p) => T.fusedAdamw_([p], [f([3, -2])], [z()], [z()], [], [f(1)], adamw)), [0.9, 1.1]],
  [() => changed(z(), (p) => T.foreachLerp_([p], [T.ones([2])], 0.25)), [0.25, 0.25]],
  [() => changed(a(), (p) => T.foreachMul_([p], 2)), [2, -4, 8]],
  [() => changed(a(), (p) => T.foreachAdd_([p], [c()], { alpha: 2 })), [5, 6, -12]],
  [() => changed(a(), (p) => T.foreachCopy_([p], [c()])), C],
  [() => T.foreachNorm([f([3, 4])]), [5]],
];

export const SAMPLES: readonly Sample[] = [
  ...creation,
  ...shape,
  ...indexing,
  ...arithmetic,
  ...comparison,
  ...reduction,
  ...linearAlgebra,
  ...networks,
  ...groups,
];
