//! One message to the next server: [`route`] (MX), [`policy`], [`deliver`], one outcome a recipient.

pub mod deliver;
pub mod policy;
pub mod route;
