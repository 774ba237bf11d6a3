//! Small `wasi:http` components (0.2, and 0.3 under names that begin with `p3-`) for tests and benchmarks, made from WebAssembly text.
//!
//! A committed binary cannot be reviewed and a Rust guest needs a second target installed, so each guest is a core
//! module in text that speaks the canonical ABI by hand; `wit-component` wraps it. Building all of them takes
//! milliseconds. What each one does stands at the head of its file in `wat/`.

use std::fmt;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, UnresolvedPackageGroup};

const IMPORTS: &str = include_str!("../wat/respond-imports.wat");
const SHARED: &str = include_str!("../wat/respond.wat");
const P3_IMPORTS: &str = include_str!("../wat/respond-p3-imports.wat");
const P3_SHARED: &str = include_str!("../wat/respond-p3.wat");
const SEPARATOR: &str = ";; ---";

macro_rules! guests {
    ($($name:literal in $world:literal),+ $(,)?) => {
        /// Name, world and text of every guest.
        const GUESTS: &[(&str, &str, &str)] = &[
            $(($name, $world, include_str!(concat!("../wat/", $name, ".wat")))),+
        ];
    };
}

guests! {
    "command" in "command",
    "count" in "proxy",
    "echo" in "proxy",
    "egress" in "proxy",
    "exotic" in "exotic",
    "flood" in "proxy",
    "handles" in "proxy",
    "hello" in "proxy",
    "hog" in "proxy",
    "late-trap" in "proxy",
    "log" in "proxy",
    "loop" in "proxy",
    "p3-echo" in "service",
    "p3-egress" in "service",
    "p3-flood" in "service",
    "p3-hello" in "service",
    "p3-hog" in "service",
    "p3-late" in "service",
    "p3-loop" in "service",
    "p3-together" in "service",
    "p3-trap" in "service",
    "p3-warm" in "service",
    "mirror" in "proxy",
    "primes" in "proxy",
    "recurse" in "proxy",
    "silent" in "proxy",
    "sleep" in "proxy",
    "spin" in "proxy",
    "tables" in "proxy",
    "trailers" in "proxy",
    "trap" in "proxy",
    "warm" in "proxy",
}

const WIT: &[(&str, &str)] = &[
    ("io.wit", include_str!("../wit/deps/io.wit")),
    ("clocks.wit", include_str!("../wit/deps/clocks.wit")),
    ("random.wit", include_str!("../wit/deps/random.wit")),
    ("cli.wit", include_str!("../wit/deps/cli.wit")),
    ("http.wit", include_str!("../wit/deps/http.wit")),
    ("clocks-0.3.wit", include_str!("../wit/deps/clocks-0.3.wit")),
    ("http-0.3.wit", include_str!("../wit/deps/http-0.3.wit")),
    ("world.wit", include_str!("../wit/world.wit")),
];

/// Why a guest could not be built; only a mistake in this crate leads here.
#[derive(Debug)]
pub struct BuildError(String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

/// Return the names of all guests, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    GUESTS.iter().map(|(name, _, _)| *name)
}

/// Build the component called `name`.
///
/// # Errors
/// [`BuildError`] when there is no such guest or its text does not compile.
pub fn build(name: &str) -> Result<Vec<u8>, BuildError> {
    let (_, world, text) = GUESTS
        .iter()
        .find(|(known, _, _)| *known == name)
        .ok_or_else(|| BuildError(format!("no guest is called {name}")))?;
    component(world, text).map_err(|cause| BuildError(format!("{name}: {cause}")))
}

/// Return a core module: valid WebAssembly that is no component.
///
/// # Errors
/// Never in practice; see [`BuildError`].
pub fn core_module() -> Result<Vec<u8>, BuildError> {
    wat::parse_str("(module)").map_err(|cause| BuildError(cause.to_string()))
}

fn component(world: &str, text: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let (common, shared) = match world {
        "service" => (P3_IMPORTS, P3_SHARED),
        _ => (IMPORTS, SHARED),
    };
    let text = match text.split_once(SEPARATOR) {
        Some((imports, definitions)) => format!("(module {imports}\n{common}\n{shared}\n{definitions})"),
        None => text.to_owned(),
    };
    let mut module = wat::parse_str(text)?;
    let mut resolve = Resolve::default();
    let mut package = None;
    for (path, wit) in WIT {
        let parsed = UnresolvedPackageGroup::parse(path, wit).map_err(|(_, cause)| cause.to_string())?;
        package = Some(resolve.push_group(parsed)?);
    }
    let package = package.ok_or("no interfaces")?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(ComponentEncoder::default().validate(true).module(&module)?.encode()?)
}
