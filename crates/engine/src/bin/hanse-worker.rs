//! A worker process of an engine: started by a node through `EngineConfig::worker_command`, never by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    match hanse_engine::work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
