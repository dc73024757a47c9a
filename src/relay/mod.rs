//! Delivery of one message to the next server: [`route`] (MX), [`policy`], [`connection`] along the route, [`deliver`] at
//! one server, one outcome per recipient.

pub mod connection;
pub mod deliver;
pub mod policy;
pub mod route;
pub mod server_url;
