//! Look at a component without running or compiling it: `bytes -> what it needs and offers`.
//!
//! A component that could not serve is refused here with the reason, long before a node is asked to run it.

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::error::EngineError;

const HANDLER_P2: &str = "wasi:http/incoming-handler@0.2.";
const HANDLER_P3: &str = "wasi:http/handler@0.3.";
const PROVIDED: &[&str] = &[
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/client@",
    "wasi:http/outgoing-handler@",
    "wasi:http/types@",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// What a component needs and offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The world it fits, such as `wasi:http/proxy@0.2.0`.
    pub world: String,
    /// Names of its imports, in order of appearance.
    pub imports: Vec<String>,
    /// Names of its exports, in order of appearance.
    pub exports: Vec<String>,
    /// Size in bytes.
    pub size_bytes: usize,
    /// `sha256:` and the digest in lower-case hexadecimal digits.
    pub digest: String,
}

/// The WebAssembly features guests may use: what toolchains emit today, and nothing that only widens the attack surface.
/// The engine is set to exactly these, so that what passes here also compiles.
pub(crate) fn features() -> WasmFeatures {
    let refused = WasmFeatures::GC_TYPES;
    WasmFeatures::WASM2.difference(refused)
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::COMPONENT_MODEL
        | WasmFeatures::CM_ASYNC
}

/// Check that `bytes` is a component this engine can serve, and describe it.
///
/// # Errors
/// `component.too_large` above `max_bytes`; `component.not_a_component` for other bytes and core modules;
/// `component.truncated`; `component.invalid`; `component.not_wasi_http` when it exports no handler;
/// `component.unsupported_import` when it wants an interface that no hanse engine provides.
pub fn inspect(bytes: &[u8], max_bytes: usize) -> Result<ComponentInfo, EngineError> {
    if bytes.len() > max_bytes {
        return Err(EngineError::new(
            "component.too_large",
            format!("the component has {} bytes, the limit is {max_bytes}", bytes.len()),
            "strip debug information (wasm-tools strip), or raise the engine's limit for components",
        ));
    }
    check_magic(bytes)?;
    let (imports, exports) = names(bytes)?;
    Validator::new_with_features(features())
        .validate_all(bytes)
        .map_err(|cause| broken(bytes, &cause))?;
    let world = world(&exports)?;
    if let Some(name) = imports.iter().find(|name| !is_provided(name)) {
        return Err(EngineError::new(
            "component.unsupported_import",
            format!("the component imports {name}, which this engine does not provide"),
            "build it for wasi:http/proxy of WASI 0.2 or wasi:http/service of WASI 0.3, or compose the missing part in",
        ));
    }
    Ok(ComponentInfo {
        world,
        imports,
        exports,
        size_bytes: bytes.len(),
        digest: format!("sha256:{}", digest_hex(bytes)),
    })
}

/// SHA-256 of `bytes` in lower-case hexadecimal digits.
pub(crate) fn digest_hex(bytes: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest.finish_hex()
}

/// SHA-256 of bytes that come in pieces.
pub(crate) struct Digest(aws_lc_rs::digest::Context);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Return the digest in lower-case hexadecimal digits.
    pub(crate) fn finish_hex(self) -> String {
        let digest = self.0.finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn check_magic(bytes: &[u8]) -> Result<(), EngineError> {
    const MAGIC: &[u8] = b"\0asm";
    if bytes.len() < 8 && (bytes.is_empty() || MAGIC.starts_with(bytes) || bytes.starts_with(MAGIC)) {
        return Err(truncated(bytes.len()));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(EngineError::new(
            "component.not_a_component",
            "the bytes are not WebAssembly: they do not begin with \\0asm",
            "pass the built .wasm file; sources are turned into one with `hanse build`",
        ));
    }
    Ok(())
}

/// Names of the imports and exports of the outermost component.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), EngineError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|cause| broken(bytes, &cause))? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => {
                return Err(EngineError::new(
                    "component.not_a_component",
                    "the bytes are a core WebAssembly module, not a component",
                    "wrap it with `wasm-tools component new`, or build for the target wasm32-wasip2",
                ));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(|cause| broken(bytes, &cause))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(|cause| broken(bytes, &cause))?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn world(exports: &[String]) -> Result<String, EngineError> {
    for (handler, world) in [(HANDLER_P3, "wasi:http/service"), (HANDLER_P2, "wasi:http/proxy")] {
        let export = exports.iter().find(|name| name.starts_with(handler));
        if let Some((_, version)) = export.and_then(|name| name.split_once('@')) {
            return Ok(format!("{world}@{version}"));
        }
    }
    let message = if exports.iter().any(|name| name.starts_with("wasi:cli/run@")) {
        "the component is a command (it exports wasi:cli/run), not an HTTP handler".to_owned()
    } else {
        format!(
            "the component exports neither wasi:http/handler nor wasi:http/incoming-handler; its exports: {}",
            if exports.is_empty() {
                "none".to_owned()
            } else {
                exports.join(", ")
            }
        )
    };
    Err(EngineError::new(
        "component.not_wasi_http",
        message,
        "build it for wasi:http/proxy of WASI 0.2 or wasi:http/service of WASI 0.3",
    ))
}

fn is_provided(name: &str) -> bool {
    // Release candidates of 0.3 differ from each other and from what was released.
    let is_known = name.contains("@0.2.") || (name.contains("@0.3.") && !name.contains("-rc"));
    is_known && PROVIDED.iter().any(|prefix| name.starts_with(prefix))
}

fn broken(bytes: &[u8], cause: &wasmparser::BinaryReaderError) -> EngineError {
    if cause.message().contains("unexpected end") || cause.offset() >= bytes.len() {
        return truncated(bytes.len());
    }
    EngineError::new(
        "component.invalid",
        format!(
            "the component is not valid at byte {}: {}",
            cause.offset(),
            cause.message()
        ),
        "rebuild it; threads, 64-bit memories, several memories, garbage collection and exceptions are not allowed",
    )
}

fn truncated(len: usize) -> EngineError {
    EngineError::new(
        "component.truncated",
        format!("the component ends too early, after {len} bytes"),
        "copy or build the file again; compare its digest with the original",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        inspect(bytes, 1 << 20).map_or_else(|error| error.code, |_| "ok")
    }

    #[test]
    fn a_handler_is_described() {
        let bytes = hanse_guests::build("egress").unwrap();
        let info = inspect(&bytes, 1 << 20).unwrap();
        assert_eq!(info.world, "wasi:http/proxy@0.2.0");
        assert!(
            info.imports.contains(&"wasi:http/outgoing-handler@0.2.0".to_owned()),
            "{info:?}"
        );
        assert_eq!(info.exports, ["wasi:http/incoming-handler@0.2.0"]);
        assert_eq!(info.size_bytes, bytes.len());
        assert!(info.digest.starts_with("sha256:") && info.digest.len() == 71);
    }

    #[test]
    fn a_file_cut_off_inside_a_section_is_truncated_and_one_cut_between_sections_is_no_handler_yet() {
        let bytes = hanse_guests::build("hello").unwrap();
        let codes: Vec<_> = (0..bytes.len()).map(|len| code(&bytes[..len])).collect();
        let count = |wanted| codes.iter().filter(|code| **code == wanted).count();
        // Cut between the custom sections at the end it is whole.
        let between = count("component.not_wasi_http") + count("ok");
        assert!(between < bytes.len() / 50, "{between}");
        assert_eq!(count("component.truncated") + between, bytes.len());
    }

    #[test]
    fn what_is_no_handler_is_refused_by_name() {
        assert_eq!(code(b"apiVersion: hanse.dev/v1"), "component.not_a_component");
        assert_eq!(code(&hanse_guests::core_module().unwrap()), "component.not_a_component");
        assert_eq!(
            code(&hanse_guests::build("command").unwrap()),
            "component.not_wasi_http"
        );
        assert_eq!(
            code(&hanse_guests::build("exotic").unwrap()),
            "component.unsupported_import"
        );
        let error = inspect(&hanse_guests::build("hello").unwrap(), 10).unwrap_err();
        assert_eq!(error.code, "component.too_large");
    }
}
