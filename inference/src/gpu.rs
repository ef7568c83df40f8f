//! Decides how much of a model goes to a GPU. Runs in the worker only.
//!
//! llama.cpp itself computes what fits into the memory that is free; this asks it, and takes the processor where there
//! is no GPU or too little room, with a word to the user. Start at [`place`].

use std::ffi::CString;
use std::pin::Pin;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::device::{self, Device, GPU_MARGIN_BYTES, gpus_to_use};
use crate::request::{GpuLayers, GpuUse, ModelSpec};

/// Where a model is to be loaded.
pub(crate) struct Placement {
    pub(crate) params: Pin<Box<LlamaModelParams>>,
    /// Whether a part of it goes to a GPU.
    pub(crate) on_gpu: bool,
    /// Why none does although one was wanted and is there.
    pub(crate) refused: Option<String>,
}

impl Placement {
    /// All of it on the processor.
    pub(crate) fn processor(refused: Option<String>) -> Self {
        Self {
            params: Box::pin(LlamaModelParams::default().with_n_gpu_layers(0)),
            on_gpu: false,
            refused,
        }
    }

    /// What is on a GPU, once the model is loaded.
    pub(crate) fn gpu_use(&self, model: &LlamaModel) -> Option<GpuUse> {
        // The output counts as a layer.
        let of_layers = model.n_layer() + 1;
        self.on_gpu.then(|| GpuUse {
            device: names(&gpus()),
            // A negative number means all.
            layers: u32::try_from(self.params.n_gpu_layers())
                .map_or(of_layers, |n| n.min(of_layers)),
            of_layers,
        })
    }
}

/// Chooses a place for a model whose context will have these `context` parameters.
pub(crate) fn place(spec: &ModelSpec, context: LlamaContextParams) -> Placement {
    let gpus = gpus();
    match spec.gpu_layers {
        GpuLayers::None | GpuLayers::Exactly(0) => Placement::processor(None),
        _ if gpus.is_empty() => Placement::processor(None),
        GpuLayers::Exactly(layers) => Placement {
            params: Box::pin(LlamaModelParams::default().with_n_gpu_layers(layers)),
            on_gpu: true,
            refused: None,
        },
        GpuLayers::Fit => fit(spec, context).unwrap_or_else(|| {
            Placement::processor(Some(format!(
                "too little of the memory of {} is free for this model",
                names(&gpus)
            )))
        }),
    }
}

/// As many layers as fit; `None` where none does.
fn fit(spec: &ModelSpec, mut context: LlamaContextParams) -> Option<Placement> {
    let path = CString::new(spec.path.to_str()?).ok()?;
    let mut params = Box::pin(LlamaModelParams::default());
    let mut margins = vec![GPU_MARGIN_BYTES as usize; llama_cpp_2::max_devices()];
    let least_context = context.n_ctx().map_or(0, std::num::NonZeroU32::get);
    params
        .as_mut()
        .fit_params(
            &path,
            &mut context,
            &mut margins,
            least_context,
            llama_cpp_sys_2::GGML_LOG_LEVEL_ERROR,
        )
        .ok()?;
    (params.n_gpu_layers() != 0).then_some(Placement {
        params,
        on_gpu: true,
        refused: None,
    })
}

/// The GPUs that llama.cpp would use.
fn gpus() -> Vec<Device> {
    let devices = device::list();
    gpus_to_use(&devices).into_iter().cloned().collect()
}

fn names(gpus: &[Device]) -> String {
    let names: Vec<&str> = gpus.iter().map(|gpu| gpu.description.as_str()).collect();
    names.join(", ")
}
