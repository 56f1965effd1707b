//! Which part takes those who join.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    id::{IocId, PartId},
    ioc::{Ioc, Kind},
    member::{self, MembershipState, OpenPart, part_id},
};
use iocast_formats::write::misp::value_key;
use iocast_store::PartRow;

use super::{
    super::{LoadedIocs, PublicationJob},
    Part, Parts,
};
use crate::AppResult;

/// The last part of a day.
fn last_part<'p>(parts: &'p Parts, day: &str) -> Option<(&'p (String, u32), &'p Part)> {
    parts.iter().rfind(|((of, _), _)| of == day)
}

impl PublicationJob<'_> {
    /// The day's last part, where it takes more members. One that was begun under another name of
    /// the group takes none.
    pub(super) fn open_part<'p>(&self, parts: &'p Parts, today: &str) -> Option<&'p PartRow> {
        let last = last_part(parts, today);
        last.map(|(_, part)| part)
            .filter(|part| !part.sealed && part.row.group_name == self.row.group.name.as_str())
            .map(|part| &part.row)
    }

    /// Those who join, so that no two of a layer, and none of the first one and of the open part,
    /// are one value to MISP, which compares without case and keeps one of them in an event.
    pub(super) async fn without_twins(
        &self,
        open: Option<&PartRow>,
        joins: Vec<IocId>,
        loaded: &LoadedIocs,
    ) -> AppResult<Vec<Vec<IocId>>> {
        // Case makes a difference in these alone.
        let key = |ioc: &Ioc| matches!(ioc.kind, Kind::Url | Kind::Email).then(|| value_key(ioc));
        let keys: HashMap<IocId, Option<String>> = self.summaries(loaded, &joins, key).await?;
        let mut next: HashMap<String, usize> = HashMap::new();
        if let Some(part) = open.filter(|_| keys.values().any(Option::is_some)) {
            let listed = self.hashes(part).await?;
            let lines = String::from_utf8_lossy(&listed);
            let hash = |line: &str| line.split(',').next().map(|hash| (hash.to_owned(), 1));
            next.extend(lines.lines().filter_map(hash));
            if part.total > part.live {
                // Those that are leaving may come back, and older versions of MISP take one that
                // is listed as deleted for a twin, too.
                let mut gone = self.read.member_of_part(part.id).await?;
                gone.retain(|member| member.standing != MembershipState::Live);
                let gone: Vec<IocId> = gone.into_iter().map(|member| member.ioc_id).collect();
                let iocs = self.read.ioc_fetch_many(&gone).await?;
                next.extend(iocs.values().filter_map(|row| Some((key(&row.ioc)?, 1))));
            }
        }
        let mut layers = vec![Vec::with_capacity(joins.len())];
        for id in joins {
            let layer = keys.get(&id).cloned().flatten().map_or(0, |key| {
                let next = next.entry(key).or_default();
                *next += 1;
                *next - 1
            });
            while layers.len() <= layer {
                layers.push(Vec::new());
            }
            if let Some(layer) = layers.get_mut(layer) {
                layer.push(id);
            }
        }
        Ok(layers)
    }

    /// Puts those who join into the day's open part and new ones behind it, and each further layer
    /// of them into new ones.
    pub(super) fn place(
        &self,
        parts: &mut Parts,
        layers: Vec<Vec<IocId>>,
        tombstone_parts: &HashSet<PartId>,
        today: &str,
    ) {
        let last = last_part(parts, today);
        let mut last_number = last.map_or(0, |((_, number), _)| *number);
        let mut open = self
            .open_part(parts, today)
            .map(|row| OpenPart { number: last_number, total: row.total });
        let has_tombstone = last.is_some_and(|(_, p)| tombstone_parts.contains(&p.row.id));
        let mut avoid_open = has_tombstone && layers.iter().any(|layer| !layer.is_empty());
        if avoid_open && let Some(part) = parts.get_mut(&(today.to_owned(), last_number)) {
            part.row.sealed = true;
            part.keep = true;
        }
        for layer in layers {
            let placed = member::place(layer.len(), open.as_ref(), last_number, avoid_open);
            let mut joins = layer.into_iter();
            for (number, how_many) in placed {
                let part = parts.entry((today.to_owned(), number)).or_insert_with(|| {
                    let row = PartRow::empty(
                        part_id(&self.account.id, self.row.group.id, today, number),
                        today,
                        number,
                        self.row.group.name.as_str(),
                    );
                    Part::of(row, true, today)
                });
                part.joins.extend(joins.by_ref().take(how_many));
                last_number = last_number.max(number);
            }
            (open, avoid_open) = (None, false);
        }
    }
}
