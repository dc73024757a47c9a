//! The local time zone, without the cost of looking its name up.

use std::sync::OnceLock;

use jiff::Zoned;
use jiff::tz::TimeZone;

/// Where the system says which zone it is in (localtime(5)).
const LOCALTIME: &str = "/etc/localtime";

/// The time zone of `$TZ`, else of the system. The name of the system's zone is of no use to a tool, and finding it
/// would read the whole zone database: a start of a few milliseconds instead of one. Found once a process.
pub fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(find).clone()
}

fn find() -> TimeZone {
    if std::env::var_os("TZ").is_some() {
        return TimeZone::system();
    }
    let data = std::fs::read(LOCALTIME).ok();
    data.and_then(|data| TimeZone::tzif("localtime", &data).ok()).unwrap_or(TimeZone::UTC)
}

/// Now, in the local time zone.
pub fn now() -> Zoned {
    jiff::Timestamp::now().to_zoned(zone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_named_zone() {
        let system = Zoned::now().with_time_zone(TimeZone::system());
        assert_eq!(now().offset(), system.offset());
    }
}
