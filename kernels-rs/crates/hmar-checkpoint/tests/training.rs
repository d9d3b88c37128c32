//! Two training files assembled into a combined model.

mod support;

use hmar_checkpoint::{
    Layout, ModelCheckpoint, ModelConfig, OpenModel, Sink, Synthetic, TensorInfo, TensorSource,
    TokenizerCheckpoint, model_tensors,
};
use hmar_error::{Code, Result};
use serde_json::json;
use std::path::PathBuf;
use support::pickle::{Pickle, PickledTensor};
use support::{pth, small_model, small_tokenizer, state_dict, write};
use tempfile::{TempDir, tempdir};

/// One half of a training, with the weights of the combined model that it belongs to.
struct Half {
    combined: Synthetic,
    /// Tensors under their training names, and the combined names.
    tensors: Vec<TensorInfo>,
    originals: Vec<String>,
}

impl Half {
    /// The branch is `ns` or `mask`.
    fn new(config: &ModelConfig, branch: &str) -> Self {
        let base = config.base_depth();
        let mut half =
            Half { combined: Synthetic::model(config), tensors: Vec::new(), originals: Vec::new() };
        for tensor in
            model_tensors(&ModelConfig { layout: Layout::NextScale, branch_depth: 0, ..config.clone() })
        {
            let original = match tensor.name.strip_prefix("blocks.").and_then(|name| name.split_once('.')) {
                Some((index, rest)) => match index.parse::<usize>().unwrap() {
                    index if index < base => format!("base_blocks.{index}.{rest}"),
                    index => format!("{branch}_blocks.{}.{rest}", index - base),
                },
                None if tensor.name.starts_with("head") => format!("{branch}_{}", tensor.name),
                None if tensor.name == "word_embed.bias" => "word_embed_bias".to_string(),
                None => tensor.name.clone(),
            };
            half.tensors.push(tensor);
            half.originals.push(original);
        }
        if branch == "mask" {
            half.tensors.push(TensorInfo::f32("mask_embed.weight", &[1, config.width]));
            half.originals.push("mask_embed.weight".to_string());
        }
        half
    }

    /// Nested as training leaves it, with a tokenizer beside it.
    fn write(&self, folder: &TempDir, name: &str) -> PathBuf {
        let (tensors, mut storages) = state_dict(self);
        let (mut tokenizer, tokenizer_storages) = state_dict(&Synthetic::tokenizer(&small_tokenizer()));
        for (tensor, mut storage) in tokenizer.iter_mut().zip(tokenizer_storages) {
            tensor.key = format!("vae{}", tensor.key);
            let name = format!("archive/data/{}", tensor.key);
            storage.central.name.clone_from(&name);
            storage.local.name = name;
            storages.push(storage);
        }
        let nested = |pickle: Pickle, tensors: &[PickledTensor]| {
            let pickle = pickle.global("collections", "OrderedDict").raw(b")R(");
            let pickle =
                tensors.iter().fold(pickle, |pickle, tensor| pickle.text(&tensor.name).tensor(tensor));
            // The `_metadata` of a module's state dict.
            pickle.raw(b"u}").text("_metadata").raw(b"}sb")
        };
        let pickle = Pickle::new().raw(b"}(").text("epoch").raw(b"K\x07").text("trainer").raw(b"}(");
        let pickle = nested(pickle.text("vae_local"), &tokenizer);
        let pickle = nested(pickle.text("transformer_wo_ddp"), &tensors);
        write(folder.path(), name, &pth(pickle.raw(b"uu").finish(), storages))
    }
}

impl TensorSource for Half {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn stream(&self, name: &str, chunk: usize, sink: &mut Sink<'_>) -> Result<()> {
        let position = self.tensors.iter().position(|tensor| tensor.name == name).unwrap();
        self.combined.stream(&self.originals[position], chunk, sink)
    }
}

struct Training {
    folder: TempDir,
    next: PathBuf,
    masked: PathBuf,
}

fn training(config: &ModelConfig) -> Training {
    let folder = tempdir().unwrap();
    let next = Half::new(config, "ns").write(&folder, "next-scale.pth");
    let masked = Half::new(config, "mask").write(&folder, "masked.pth");
    Training { folder, next, masked }
}

fn assemble(paths: [&PathBuf; 2], config: Option<serde_json::Value>) -> Result<ModelCheckpoint> {
    let config = config.map(|config| config.to_string());
    ModelCheckpoint::open(&OpenModel { paths: paths.map(PathBuf::clone).to_vec(), config, mode: None })
}

#[test]
fn both_halves_make_the_combined_model() {
    let config = small_model(Layout::Combined);
    let training = training(&config);
    let pyramid = json!({ "pyramid": [1, 2] });
    for paths in [[&training.next, &training.masked], [&training.masked, &training.next]] {
        let model = assemble(paths, Some(pyramid.clone())).unwrap();
        assert_eq!(model.config, config, "the branch depth is seen in what was finetuned");
        let combined = Synthetic::model(&config);
        assert_eq!(model.source.tensors().len(), combined.tensors().len());
        for tensor in combined.tensors() {
            assert_eq!(model.source.find(&tensor.name), Some(tensor));
            let expected = combined.read(&tensor.name).unwrap();
            assert_eq!(model.source.read(&tensor.name).unwrap(), expected, "{}", tensor.name);
        }
    }
}

#[test]
fn the_json_beside_describes_the_combined_model() {
    let config = small_model(Layout::Combined);
    let training = training(&config);
    let json = json!({ "pyramid": [1, 2], "model": { "file": "model.pth", "depth": 3, "branchDepth": 2, "layout": "combined" } });
    write(training.folder.path(), "config.json", json.to_string().as_bytes());
    let model = assemble([&training.next, &training.masked], None).unwrap();
    assert_eq!(model.config, ModelConfig { branch_depth: 2, ..config });
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let config = small_model(Layout::Combined);
    let training = training(&config);
    let pyramid = || Some(json!({ "pyramid": [1, 2] }));
    for twice in [&training.next, &training.masked] {
        let error = assemble([twice, twice], pyramid()).err().unwrap();
        assert_eq!(error.code, Code::TensorMismatch, "{error}");
    }
    let deeper =
        Half::new(&ModelConfig { depth: 4, ..config.clone() }, "mask").write(&training.folder, "deeper.pth");
    let error = assemble([&training.next, &deeper], pyramid()).err().unwrap();
    assert_eq!(error.code, Code::TensorMismatch);
    assert!(error.message.contains("deeper.pth") && error.found.unwrap().contains("`blocks.3.attn.q_bias`"));

    let all = Half::new(&ModelConfig { branch_depth: 3, ..config.clone() }, "mask")
        .write(&training.folder, "all.pth");
    let error = assemble([&training.next, &all], pyramid()).err().unwrap();
    assert_eq!(error.code, Code::ConfigAmbiguous, "{error}");
    assert!(
        assemble([&training.next, &all], Some(json!({ "pyramid": [1, 2], "model": { "branchDepth": 3 } })))
            .is_ok()
    );
    let error =
        assemble([&training.next, &all], Some(json!({ "pyramid": [1, 2], "model": { "branchDepth": 4 } })));
    assert_eq!(error.err().unwrap().code, Code::ConfigInvalid);
}

#[test]
fn one_half_alone() {
    let training = training(&small_model(Layout::Combined));
    let open = |path: &PathBuf| {
        let config = Some(json!({ "pyramid": [1, 2] }).to_string());
        ModelCheckpoint::open(&OpenModel { config, mode: Some(Layout::NextScale), ..OpenModel::at(path) })
    };
    assert_eq!(open(&training.next).unwrap().config, small_model(Layout::NextScale));
    let error = open(&training.masked).err().unwrap();
    assert_eq!(error.code, Code::TensorMismatch);
    assert!(error.remedy.unwrap().contains("next-scale training file too"));
    let tokenizer = TokenizerCheckpoint::open(&training.next, None).unwrap();
    assert_eq!(tokenizer.config.channels, small_tokenizer().channels);
    let source = Synthetic::tokenizer(&small_tokenizer());
    assert_eq!(tokenizer.source.read("quant_conv.bias").unwrap(), source.read("quant_conv.bias").unwrap());
}

#[test]
fn the_number_of_files_is_checked() {
    for count in [0, 3] {
        let options = OpenModel { paths: vec![PathBuf::from("x"); count], ..OpenModel::default() };
        assert_eq!(ModelCheckpoint::open(&options).err().unwrap().code, Code::ArgumentOutOfRange);
    }
}
