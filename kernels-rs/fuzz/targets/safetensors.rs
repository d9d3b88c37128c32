//! A whole `.safetensors` file.
#![no_main]

use hmar_fuzz::read_everything;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| read_everything(file));
