//! One message to the next server: [`route`] (MX), [`policy`], delivery, one outcome a recipient.

pub mod policy;
pub mod route;
