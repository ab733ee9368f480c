/**
 * The public files of the three systems: what their authors' pages link to. A hash stands here only where one is
 * published: PyTorch's and pytorch-fid's files carry the first eight digits of their SHA-256 in the name, LPIPS' MD5 is in
 * the code that downloads it. Sizes are of the weights alone (four bytes a parameter), so they are about right at best.
 */

export interface PublicFile {
  /** What `tessera fetch` calls it. */
  name: string;
  /** For people. */
  what: string;
  /** What it is called on disk, below the folder of all. */
  file: string;
  url: string;
  /** About how many bytes; left out where it is not known. */
  about?: number;
  md5?: string;
  /** SHA-256 in hexadecimal, or its first digits. */
  sha256?: string;
}

const drive = (id: string): string =>
  `https://drive.usercontent.google.com/download?id=${id}&export=download&confirm=t`;
const llamagen = (file: string): string => `https://huggingface.co/FoundationVision/LlamaGen/resolve/main/${file}`;
const adm = (path: string): string =>
  `https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/${path}`;

export const PUBLIC_FILES: readonly PublicFile[] = [
  { name: 'maskgit-vqgan', what: "MAGE's tokenizer, of AutoNAT and ENAT", file: 'vqgan_jax_strongaug.ckpt', url: drive('13S_unB87n6KKuuMdyMnyExW0G1kplTbP'), about: 4 * 54_515_587 },
  { name: 'autonat-l', what: 'AutoNAT-L, 256 px', file: 'autonat-l/nnet_ema.pth', url: drive('12NN62Vg1DiOd-3sWkEnBQRIBBbuiVkNl'), about: 4 * 193_655_297 },
  { name: 'enat-l', what: 'ENAT-L, 256 px', file: 'enat-l/nnet_ema.pth', url: drive('1IMT5u5nAp_wWyLyEXaLSYtnEc91UPVol'), about: 4 * 574_298_113 },
  { name: 'enat-l-512', what: 'ENAT-L, 512 px', file: 'enat-l/nnet_ema_512.pth', url: drive('1LA4axsWGRso_scFbCUwQ3CigsMvAfWzb'), about: 4 * 575_084_545 },
  { name: 'llamagen-vq16', what: "LlamaGen's tokenizer VQ-16", file: 'vq_ds16_c2i.pt', url: llamagen('vq_ds16_c2i.pt'), about: 4 * 71_883_403 },
  { name: 'llamagen-vq8', what: "LlamaGen's tokenizer VQ-8", file: 'vq_ds8_c2i.pt', url: llamagen('vq_ds8_c2i.pt'), about: 4 * 70_109_835 },
  { name: 'gpt-b-256', what: 'LlamaGen-B, 256 px', file: 'c2i_B_256.pt', url: llamagen('c2i_B_256.pt'), about: 4 * 110_888_448 },
  { name: 'gpt-b-384', what: 'LlamaGen-B, 384 px', file: 'c2i_B_384.pt', url: llamagen('c2i_B_384.pt'), about: 4 * 110_888_448 },
  { name: 'gpt-l-256', what: 'LlamaGen-L, 256 px', file: 'c2i_L_256.pt', url: llamagen('c2i_L_256.pt'), about: 4 * 342_910_976 },
  { name: 'gpt-l-384', what: 'LlamaGen-L, 384 px', file: 'c2i_L_384.pt', url: llamagen('c2i_L_384.pt'), about: 4 * 342_910_976 },
  { name: 'gpt-xl-384', what: 'LlamaGen-XL, 384 px', file: 'c2i_XL_384.pt', url: llamagen('c2i_XL_384.pt'), about: 4 * 774_699_520 },
  { name: 'gpt-xxl-384', what: 'LlamaGen-XXL, 384 px', file: 'c2i_XXL_384.pt', url: llamagen('c2i_XXL_384.pt'), about: 4 * 1_410_972_672 },
  { name: 'gpt-3b-384', what: 'LlamaGen-3B, 384 px', file: 'c2i_3B_384.pt', url: llamagen('c2i_3B_384.pt'), about: 4 * 3_096_659_200 },
  { name: 'lpips-vgg', what: 'the linear maps of LPIPS', file: 'lpips/vgg.pth', url: 'https://heibox.uni-heidelberg.de/f/607503859c864bc1b30b/?dl=1', md5: 'd507d7349b931f0638a25a48a722f98a' },
  { name: 'vgg16', what: "torchvision's VGG16, for LPIPS", file: 'vgg16-397923af.pth', url: 'https://download.pytorch.org/models/vgg16-397923af.pth', sha256: '397923af' },
  { name: 'fid-inception', what: "pytorch-fid's Inception", file: 'pt_inception-2015-12-05-6726825d.pth', url: 'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth', sha256: '6726825d' },
  { name: 'fid-stats-256', what: "AutoNAT's and ENAT's reference, 256 px", file: 'fid_stats/fid_stats_imagenet256_guided_diffusion.npz', url: drive('1C7DgARuZi9-InTYOgpkE3pggkJB6DMZD') },
  { name: 'fid-stats-512', what: "ENAT's reference, 512 px", file: 'fid_stats/fid_stats_imagenet512_guided_diffusion.npz', url: drive('1DJo00khURAV01i-Yqu04KF6bkNBt1J1O') },
  { name: 'adm-reference-256', what: "the ADM evaluator's reference, 256 px", file: 'VIRTUAL_imagenet256_labeled.npz', url: adm('256/VIRTUAL_imagenet256_labeled.npz') },
  { name: 'adm-reference-512', what: "the ADM evaluator's reference, 512 px", file: 'VIRTUAL_imagenet512.npz', url: adm('512/VIRTUAL_imagenet512.npz') },
]; // biome-ignore format: one row a file
