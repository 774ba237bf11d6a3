//! How long it takes from `load` of a component that was compiled before to its first answer, one JSON line.
//!
//! `cargo run --release -p hanse-engine --example first_answer -- component.wasm [rounds]`

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hanse_engine::{Engine, EngineConfig, Limits, Route, inspect, precompile};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a component")?;
    let rounds: usize = arguments.next().map_or(Ok(20), |rounds| rounds.parse())?;
    let component = std::fs::read(path)?;
    let cache = std::env::temp_dir().join(format!("hanse-first-answer-{}", std::process::id()));
    let measured = measure(&component, &cache, rounds);
    std::fs::remove_dir_all(&cache)?;
    let mut rounds = measured?;
    rounds.sort_by_key(|(load, answer)| *load + *answer);
    let median = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    let worst = rounds.last().copied().unwrap_or_default();
    let us = |part: Duration| part.as_micros();
    println!(
        "{{\"component_bytes\":{},\"rounds\":{},\"load_us\":{},\"request_us\":{},\"sum_us_p50\":{},\"sum_us_max\":{}}}",
        component.len(),
        rounds.len(),
        us(median.0),
        us(median.1),
        us(median.0 + median.1),
        us(worst.0 + worst.1),
    );
    Ok(())
}

fn measure(component: &[u8], cache: &std::path::Path, rounds: usize) -> Outcome<Vec<(Duration, Duration)>> {
    precompile(component, cache, component.len())?;
    let digest = inspect(component, component.len())?.digest;
    let digest = digest.trim_start_matches("sha256:");
    let limits = || Limits {
        memory_bytes: 256 << 20,
        ..Limits::default()
    };
    // A file is remembered only when it is no longer new.
    while {
        let engine = engine(cache)?.0;
        engine.load_known("w", component, digest, limits(), &[], Vec::new())?;
        engine.stats().cache_hashed > 0
    } {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut measured = Vec::new();
    for _ in 0..rounds {
        let (engine, front) = engine(cache)?;
        engine.set_routes(&[Route::new("w", "/")])?;
        let began = Instant::now();
        engine.load_known("w", component, digest, limits(), &[], Vec::new())?;
        let loaded = began.elapsed();
        let mut stream = TcpStream::connect(front)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        measured.push((loaded, began.elapsed() - loaded));
        let stats = engine.stats();
        if stats.cache_misses > 0
            || !answer.starts_with(b"HTTP/1.1 ")
            || answer.windows(12).any(|text| text == b"hanse-error:")
        {
            return Err(format!("no answer: {}", String::from_utf8_lossy(&answer)).into());
        }
        engine.stop(Duration::ZERO);
    }
    Ok(measured)
}

fn engine(cache: &std::path::Path) -> Outcome<(Engine, String)> {
    let engine = Engine::new(EngineConfig::new("a", "t.example", "127.0.0.1:0", "127.0.0.1:0", cache))?;
    let front = engine.start()?.front;
    Ok((engine, front))
}
