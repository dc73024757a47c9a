//! One message to the next server: [`route`] (MX), [`policy`], [`lane`] along it, [`deliver`] at one server, one
//! outcome a recipient.

pub mod deliver;
pub mod lane;
pub mod policy;
pub mod route;
