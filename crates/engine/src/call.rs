//! One request into one instance, by the version of WASI its component was built for: `request -> answer, then the end`.
//!
//! A 0.2 handler runs from its call to its return. A 0.3 handler is a task: its answer comes first, and it may go on
//! writing the body, and working, until no task of the instance is left.

use std::future::poll_fn;
use std::pin::Pin;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Extensions, Request, Response, Uri};
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as P2Scheme;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView, p3};

use crate::body::RequestBody;
use crate::host::GuestState;
use crate::scheme::Scheme as ClientScheme;

/// What a guest answered.
pub(crate) type Answer = Result<Response<WasiBody>, Error>;

/// Hand `request` to `proxy`, pass on its answer when it comes, and return when the guest is done.
///
/// # Errors
/// What stopped the guest: a trap, a limit, the end of its time.
pub(crate) async fn call(
    proxy: &Proxy,
    store: &mut Store<GuestState>,
    request: Request<RequestBody>,
    answer: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    match proxy {
        Proxy::P2(proxy) => {
            let request = store
                .data_mut()
                .http()
                .new_incoming_request(scheme_p2(&request), request)?;
            let answer = store
                .data_mut()
                .http()
                .new_response_outparam_from_callback(move |given| {
                    // Nobody waits for the answer of a request that was given up.
                    let _ = answer.send(given.map_err(Error::from));
                })?;
            proxy
                .wasi_http_incoming_handler()
                .call_handle(store, request, answer)
                .await
        }
        Proxy::P3(service) => {
            store
                .run_concurrent(async |accessor| {
                    let given = call_p3(service, accessor, request).await?;
                    // As above.
                    let _ = answer.send(given);
                    poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
                    Ok(())
                })
                .await?
        }
    }
}

/// The call alone: returns with the answer, while the guest may still work.
pub(crate) async fn call_p3(
    service: &Service,
    accessor: &Accessor<GuestState>,
    request: Request<RequestBody>,
) -> wasmtime::Result<Answer> {
    let (request, sent) = accessor.with(|mut store| {
        let (request, sent) = p3::Request::from_http(store.get().http().hooks, with_authority(request));
        let sent: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> = Box::pin(sent);
        (request, sent)
    });
    Ok(match service.handle(accessor, request).await? {
        Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
        Err(code) => Err(Error::from(code)),
    })
}

fn scheme_p2<B>(request: &Request<B>) -> P2Scheme {
    match client_scheme(request.extensions()) {
        ClientScheme::Http => P2Scheme::Http,
        ClientScheme::Https => P2Scheme::Https,
    }
}

fn client_scheme(extensions: &Extensions) -> ClientScheme {
    extensions.get::<ClientScheme>().copied().unwrap_or_default()
}

/// A request as 0.3 wants it: with scheme and authority, which HTTP/1.1 puts into the Host header.
fn with_authority<B>(mut request: Request<B>) -> Request<B> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    // Not what the request says of itself: on HTTP/2 a client could choose it.
    parts.scheme = Some(match client_scheme(request.extensions()) {
        ClientScheme::Http => Scheme::HTTP,
        ClientScheme::Https => Scheme::HTTPS,
    });
    if parts.authority.is_none() {
        parts.authority = request
            .headers()
            .get(HOST)
            .and_then(|host| Authority::try_from(host.as_bytes()).ok())
            .or_else(|| Some(Authority::from_static("localhost")));
    }
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    // All three parts are there, which is all that is asked of them.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}
