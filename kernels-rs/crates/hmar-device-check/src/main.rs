//! `hmar-device-check parity|goldens|bench [options]`: holds a GPU to the CPU, to the goldens and to its own floor.

mod check;
mod parity;

fn main() {
    for (name, checks) in parity::groups() {
        println!("{name}: {}", checks.len());
    }
}
