//! A table of devices, as people paste it.

use iocast_accounts::{FleetRow, fleet_rows};
use iocast_formats::read::{NamedTable, named_table};

use crate::{AppError, AppResult};

/// Reads a table of devices: comma, semicolon or tab, with a line that names the columns.
///
/// # Errors
/// If the table can't be read, names no column that is needed, or is empty or too long.
pub fn fleet_table(text: &str) -> AppResult<Vec<FleetRow>> {
    let NamedTable { separator, lines } = named_table(text)
        .map_err(|message| AppError::field("table", "table_unreadable", message))?;
    fleet_rows(lines, separator != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_any_separator() {
        let comma = "name,device_type,ioc_limit,groups,labels\nFW 1,panos-edl,1000,IPs=ip;Domains=domain,site: berlin; dmz\n";
        assert_eq!(
            fleet_table(comma).unwrap(),
            [FleetRow {
                line: 2,
                name: "FW 1".to_owned(),
                device_type: "panos-edl".to_owned(),
                ioc_limit: Some(1_000),
                groups: vec![
                    ("IPs".to_owned(), Some("ip".to_owned())),
                    ("Domains".to_owned(), Some("domain".to_owned()))
                ],
                labels: vec!["site: berlin".to_owned(), "dmz".to_owned()],
            }]
        );
        let rows = fleet_table("Name;Type;Groups\r\nLab;misp;Lab feed|Other, third\r\n;;\r\n");
        let rows = rows.unwrap();
        let groups: Vec<&str> = rows[0].groups.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((rows.len(), groups), (1, vec!["Lab feed", "Other", "third"]));
        for (text, says) in [
            ("", "no device"),
            ("device,kind\na,b\n", "name the columns"),
            ("name,device_type\n", "no device"),
            ("name,device_type,ioc_limit\na,misp,many\n", "Line 2: many is no number"),
        ] {
            let AppError::Invalid(fields) = fleet_table(text).unwrap_err() else { panic!() };
            assert!(fields[0].message.contains(says), "{text}: {}", fields[0].message);
        }
    }
}
