//! Directories over HTTP: one page at a time, as HTML, JSON or RDL. The next page is `?cursor=`.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::html;
use super::negotiate::{Form, preferred};
use super::order::Order;
use crate::content::rdl;
use crate::hub::{self, Audience, Hub, HubError, View};
use crate::peer::head::RequestHead;
use crate::peer::serve::{Body, Response};
use crate::wire::limits::MAX_LIST_ENTRIES;
use crate::wire::{Listing, PdtpUri, UrlPath, file_url};

/// Most entries of a page.
const PAGE_ENTRIES: usize = MAX_LIST_ENTRIES;
/// Most bytes of JSON of a page; of HTML it is a few times as much.
const PAGE_BYTES: usize = 512 * 1024;
/// Most entries that are sorted for a page, which then has them all.
const MAX_SORTED: usize = 10_000;

pub(super) fn answer(
    hub: &Hub,
    head: &RequestHead,
    path: &UrlPath,
    uri: &PdtpUri,
    audience: &dyn Audience,
) -> Result<Response, HubError> {
    let form = preferred(&head.fields);
    let is_html = form == Form::Html;
    let cursor = head.query_value("cursor");
    let depth = match head.query_value("depth").filter(|_| !is_html) {
        Some(depth) => match depth.parse() {
            Ok(depth @ 1..) => depth,
            _ => return Ok(Response::text(400, "invalid depth: a number from 1")),
        },
        None => 1,
    };
    let wanted = head.query_value("sort").filter(|_| is_html && cursor.is_none());
    let mut order = wanted.as_deref().map_or(Order::BY_NAME, Order::parse);
    let listed = if form == Form::Rdl { hub::Form::Rdl } else { hub::Form::Entries };
    let view = View { form: listed, audience, ..View::ENTRIES };
    let mut listing = hub.list(path, depth, cursor.as_deref(), PAGE_ENTRIES, PAGE_BYTES, view)?;
    if order != Order::BY_NAME {
        match sorted(hub, path, &listing, order, view)? {
            Some(all) => listing = all,
            None => order = Order::BY_NAME,
        }
    }
    let next = listing.next.as_ref().map(|next| {
        let depth = if depth == 1 { String::new() } else { format!("&depth={depth}") };
        format!("?cursor={}{depth}", utf8_percent_encode(next, NON_ALPHANUMERIC))
    });
    let (mime, body) = if let Some(rdl) = listing.rdl {
        (rdl::MEDIA_TYPE, rdl.into_bytes())
    } else if form == Form::Json {
        listing.url = file_url(&uri.host, path);
        let json = serde_json::to_vec(&listing).map_err(|e| HubError::Io(e.to_string()))?;
        ("application/json", json)
    } else {
        let is_part = cursor.is_some() || next.is_some();
        let shown = html::View {
            order,
            is_sortable: !is_part,
            is_unsorted: is_part && wanted.is_some(),
            is_later_page: cursor.is_some(),
            next: next.as_deref(),
        };
        let page = html::page(uri, &listing.entries, shown);
        ("text/html; charset=utf-8", page.into_bytes())
    };
    let mut response = Response::empty(200)
        .with("Content-Type", mime)
        .with("Content-Security-Policy", html::policy())
        .with("Referrer-Policy", "same-origin")
        .with("Cache-Control", "no-cache")
        .with("Vary", "Accept");
    if let Some(next) = next {
        response = response.with("Link", format!("<{next}>; rel=\"next\""));
    }
    response.body = Body::Bytes(Bytes::from(body));
    Ok(response)
}

/// All of a directory whose first page is `first`, sorted; `None` when it is too large for that.
fn sorted(
    hub: &Hub,
    path: &UrlPath,
    first: &Listing,
    order: Order,
    view: View<'_>,
) -> Result<Option<Listing>, HubError> {
    let mut all = first.clone();
    while let Some(next) = all.next.take() {
        let page = hub.list(path, 1, Some(&next), PAGE_ENTRIES, PAGE_BYTES, view)?;
        all.entries.extend(page.entries);
        if all.entries.len() > MAX_SORTED {
            return Ok(None);
        }
        all.next = page.next;
    }
    order.sort(&mut all.entries);
    Ok(Some(all))
}
