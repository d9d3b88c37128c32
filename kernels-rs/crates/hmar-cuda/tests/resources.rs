//! What the compiler reports of the kernels: registers and shared memory to read, spills to fail on.

use hmar_cuda::{Resources, resources};

/// `cargo test -p hmar-cuda --test resources -- --nocapture` shows the table.
#[test]
fn no_kernel_spills() {
    for Resources { kernel, architecture, registers, stack, spilled, shared } in resources() {
        println!(
            "{kernel} sm_{architecture}: {registers} registers, {shared} bytes shared, {stack} stack, {spilled} spilled"
        );
    }
    let spilling: Vec<_> = resources().iter().filter(|kernel| kernel.spilled > 0).collect();
    assert!(spilling.is_empty(), "{spilling:?}");
}
