//! Who may ask: checked for every request before anything of its body is read.
//!
//! Three questions in this order. Is it meant for this machine (`Host`)? A web page that makes its own name point to
//! the loopback address is told apart by it. Does it come from a web page (`Origin`) that the user did not name? Does
//! it carry the token? Start at [`check`].

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::ApiError;
use crate::message::{Failure, FailureKind};
use crate::serve::token::Token;

/// How long a browser may remember that a page is allowed.
const PREFLIGHT_SECONDS: u16 = 600;

const PRIVATE_NETWORK_ASKED: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What a request is measured against.
#[derive(Debug)]
pub(super) struct Guard {
    token: Token,
    origins: Vec<String>,
    port: u16,
}

impl Guard {
    /// # Errors
    /// When one of `origins` is not the origin of a web page.
    pub(super) fn new(token: Token, origins: &[String], port: u16) -> Result<Self, Failure> {
        let origins = origins.iter().map(|origin| origin_of(origin));
        Ok(Self {
            token,
            origins: origins.collect::<Result<_, _>>()?,
            port,
        })
    }

    fn is_for_this_machine(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = host.to_str() else {
            return false;
        };
        let names = ["127.0.0.1", "localhost", "[::1]"];
        names.iter().any(|name| {
            let port = host
                .get(..name.len())
                .filter(|start| start.eq_ignore_ascii_case(name))
                .and_then(|_| host.get(name.len()..));
            match port {
                Some("") => true,
                Some(port) => port.strip_prefix(':') == Some(self.port.to_string().as_str()),
                None => false,
            }
        })
    }

    /// The web page that asks; `None` where it is a program.
    fn page(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(None);
        };
        let is_allowed = origins.next().is_none()
            && origin.to_str().is_ok_and(|origin| {
                self.origins
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(origin))
            });
        if is_allowed {
            return Ok(Some(origin.clone()));
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "This web page may not use Satchel. If it is yours, start `satchel serve` with `--allow-origin` and its origin.",
        ))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return false;
        };
        let Some((scheme, token)) = given.to_str().ok().and_then(|line| line.split_once(' '))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && self.token.matches(token.trim().as_bytes())
    }
}

/// Lets a request through, or answers it.
pub(super) async fn check(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let guard = &shared.guard;
    let headers = request.headers();
    if !guard.is_for_this_machine(headers) {
        return ApiError::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            "This server answers at 127.0.0.1 and localhost, with its own port, and under no other name.",
        )
        .into_response();
    }
    let page = match guard.page(headers) {
        Ok(page) => page,
        Err(error) => return error.into_response(),
    };
    // A browser asks first whether it may ask, and shows no token with that; it learns nothing but that it may.
    let response = if let Some(allowed) = page.as_ref().and_then(|_| preflight(&request)) {
        allowed
    } else if guard.has_token(headers) {
        next.run(request).await
    } else {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "The token is missing or wrong. Send `Authorization: Bearer TOKEN` (clients call it the API key); the file that holds it was printed when `satchel serve` started.",
        )
        .into_response()
    };
    for_page(response, page)
}

/// Tells a browser that its page may read the answer.
fn for_page(mut response: Response, page: Option<HeaderValue>) -> Response {
    if let Some(origin) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// The answer to a browser that asks whether its page may send a request; `None` where it asks no such thing.
fn preflight(request: &Request) -> Option<Response> {
    let asked = request.headers();
    if request.method() != Method::OPTIONS
        || !asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST"),
    );
    // Clients send headers of their own with their version in them. The page is trusted, so it may.
    let names = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let usual = HeaderValue::from_static("authorization, content-type");
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        names.cloned().unwrap_or(usual),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(PREFLIGHT_SECONDS),
    );
    if asked.contains_key(PRIVATE_NETWORK_ASKED) {
        headers.insert(PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    Some(response)
}

/// An origin as browsers send it: scheme, host and port, nothing behind them.
fn origin_of(text: &str) -> Result<String, Failure> {
    let origin = text.trim_end_matches('/');
    let host = origin.split_once("://").map(|(_, host)| host);
    let is_origin = host.is_some_and(|host| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"/?#*@".contains(&b))
    });
    if is_origin {
        return Ok(origin.to_owned());
    }
    Err(Failure::new(
        FailureKind::Usage,
        format!("{text:?} is not the origin of a web page"),
    )
    .with_hint("Write it as browsers do, for example http://localhost:3000. Each page has to be named; there is no pattern for all."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_one_by_one() {
        for good in [
            "http://localhost:3000",
            "https://example.org/",
            "app://obsidian.md",
        ] {
            assert_eq!(origin_of(good).unwrap(), good.trim_end_matches('/'));
        }
        for bad in [
            "*",
            "null",
            "localhost:3000",
            "http://",
            "https://*.org",
            "http://a/b",
        ] {
            origin_of(bad).unwrap_err();
        }
    }
}
