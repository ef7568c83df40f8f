//! What a model can run on.
//!
//! Only the worker asks llama.cpp ([`list`]); the program gets the answer through [`devices`](crate::devices).

use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use serde::{Deserialize, Serialize};

/// A processor or GPU that llama.cpp found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Short name, such as `Vulkan0` or `CPU`.
    pub name: String,
    /// Name of the product.
    pub description: String,
    /// Which part of llama.cpp drives it, such as `Vulkan` or `CPU`.
    pub backend: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// Its memory in bytes; for the processor that of the machine. 0 where the driver does not say.
    pub memory_total_bytes: u64,
    /// What is free of it, in bytes. 0 where the driver does not say.
    pub memory_free_bytes: u64,
}

/// Kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor. Always there.
    Cpu,
    /// A part of the processor for matrices, used beside it.
    Accelerator,
    /// A graphics card with memory of its own.
    Gpu,
    /// A graphics unit that shares the memory of the processor.
    IntegratedGpu,
    /// Something newer than this program.
    Unknown,
}

/// Memory of each GPU that is left to others, in bytes: what llama.cpp's own programs leave (`fit_params_target` in its
/// `common.h`). The screen is drawn with it.
pub const GPU_MARGIN_BYTES: u64 = 1 << 30;

/// The GPUs of a list that a model is put on: those that share the processor's memory only where there is no other.
#[must_use]
pub fn gpus_to_use(devices: &[Device]) -> Vec<&Device> {
    let of_kind = |kind| devices.iter().filter(move |device| device.kind == kind);
    let own_memory: Vec<&Device> = of_kind(DeviceKind::Gpu).collect();
    if own_memory.is_empty() {
        of_kind(DeviceKind::IntegratedGpu).collect()
    } else {
        own_memory
    }
}

/// The devices of this process. Empty until the processor code is loaded.
pub(crate) fn list() -> Vec<Device> {
    list_llama_ggml_backend_devices()
        .into_iter()
        .map(|device| Device {
            name: device.name,
            description: device.description,
            backend: device.backend,
            kind: kind(device.device_type),
            memory_total_bytes: device.memory_total as u64,
            memory_free_bytes: device.memory_free as u64,
        })
        .collect()
}

fn kind(kind: LlamaBackendDeviceType) -> DeviceKind {
    match kind {
        LlamaBackendDeviceType::Cpu => DeviceKind::Cpu,
        LlamaBackendDeviceType::Accelerator => DeviceKind::Accelerator,
        LlamaBackendDeviceType::Gpu => DeviceKind::Gpu,
        LlamaBackendDeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        LlamaBackendDeviceType::Unknown => DeviceKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_shares_memory_counts_only_alone() {
        let device = |kind| Device {
            name: String::new(),
            description: String::new(),
            backend: String::new(),
            kind,
            memory_total_bytes: 0,
            memory_free_bytes: 0,
        };
        let kinds = |kinds: &[DeviceKind]| -> Vec<DeviceKind> {
            let devices: Vec<Device> = kinds.iter().map(|kind| device(*kind)).collect();
            let used = gpus_to_use(&devices);
            used.iter().map(|gpu| gpu.kind).collect()
        };
        let (cpu, own, shared) = (DeviceKind::Cpu, DeviceKind::Gpu, DeviceKind::IntegratedGpu);
        assert_eq!(kinds(&[cpu]), []);
        assert_eq!(kinds(&[cpu, shared]), [shared]);
        assert_eq!(kinds(&[cpu, shared, own]), [own]);
    }
}
