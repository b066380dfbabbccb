//! What is published under names: an ordinary dictionary of the server, which it makes when it is
//! first asked for and then keeps.

use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_process::Argument;

use crate::Namespace;
use crate::link::Link;
use crate::proxy::Proxy;
use crate::request::Operation;

fn names(link: &Arc<Link>) -> Result<Namespace> {
    Proxy::made(link, Operation::Names).map(Namespace::of)
}

pub(crate) fn publish<T: Argument>(link: &Arc<Link>, name: &str, value: T) -> Result<()> {
    names(link)?.set(name, value)
}

pub(crate) fn published<T: Argument>(link: &Arc<Link>, name: &str) -> Result<T> {
    let names = names(link)?;
    match names.get(name)? {
        Some(value) => Ok(value),
        None => Err(missing(name, &names.names()?)),
    }
}

pub(crate) fn unpublish(link: &Arc<Link>, name: &str) -> Result<bool> {
    names(link)?.remove(name)
}

pub(crate) fn published_names(link: &Arc<Link>) -> Result<Vec<String>> {
    names(link)?.names()
}

#[cold]
fn missing(name: &str, known: &[String]) -> Error {
    let detail = match known {
        [] => "the manager publishes nothing".to_owned(),
        [..] => format!("the manager publishes {}", known.join(", ")),
    };
    Error::new(ErrorKind::NotFound, "find", format!("{name:?}")).with_detail(detail)
}
