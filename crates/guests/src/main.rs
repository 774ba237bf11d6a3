//! Write every guest as `<name>.wasm` into the directory given, for tests that are not in Rust.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: hanse-guests DIRECTORY");
        return ExitCode::from(2);
    };
    match write_all(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("hanse-guests: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    for name in hanse_guests::names() {
        std::fs::write(directory.join(format!("{name}.wasm")), hanse_guests::build(name)?)?;
    }
    std::fs::write(directory.join("core.wasm"), hanse_guests::core_module()?)?;
    Ok(())
}
