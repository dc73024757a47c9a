//! One file a tool: its arguments, its records, its `run()`; each reads like its man page.

pub mod dnsq;
pub mod dnsserve;
pub mod ftpdo;
pub mod ftpget;
pub mod ftpls;
pub mod ftpput;
pub mod ftpserve;
pub mod mailq_edit;
pub mod mailq_ls;
pub mod mailq_run;
pub mod mailread;
pub mod smtpsend;
pub mod smtpserve;
