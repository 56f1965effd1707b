//! What the engines do to find IOCs.

use iocast_domain::{
    id::{AccountId, GroupId, IocId, SourceId},
    ioc::{Kind, Severity, State, Whitelist},
    rule::Criteria,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QuerySelect, QueryTrait, Select,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    conditions::*,
    precedence::{self, Standpoint, Walk},
    *,
};
use crate::members::to_resend;

/// What the engine says it would do.
async fn plan<E: EntityTrait>(
    db: &DatabaseConnection,
    (backend, explain, column): (DbBackend, &str, &str),
    find: &Select<E>,
) -> String {
    let mut statement = find.build(backend);
    statement.sql.insert_str(0, explain);
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter().map(|r| r.try_get::<String>("", column).unwrap()).collect::<Vec<_>>().join("\n")
}

const SQLITE: (DbBackend, &str, &str) = (DbBackend::Sqlite, "EXPLAIN QUERY PLAN ", "detail");
const POSTGRES: (DbBackend, &str, &str) = (DbBackend::Postgres, "EXPLAIN ", "QUERY PLAN");

/// A million IOCs are listed and searched by walking along one index; none is read for being
/// filtered, and nothing is sorted.
#[expect(clippy::too_many_lines, reason = "a list of queries")]
#[tokio::test]
async fn every_list_walks_along_an_index() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = crate::Store::open(None, folder.path()).await.unwrap();
    let db = &store.read().0;
    let account: AccountId = "0123456789abcdef01234567".parse().unwrap();
    let rare = || IocFilter {
        kinds: vec![Kind::Email],
        severities: vec![Severity::High],
        state: Some(State::Retired),
        whitelist: vec![Whitelist::NeverSent],
        ..IocFilter::default()
    };
    let after = |at: Expr| Some((at, Uuid::nil()));
    for (filter, at) in [
        (IocFilter::default(), Expr::value(7)),
        (rare(), Expr::value(7)),
        (IocFilter { sources: vec![SourceId(Uuid::nil())], ..rare() }, Expr::value(7)),
        (IocFilter { prefix: Some("1".to_owned()), ..rare() }, Expr::value("1.2.3.4")),
        (
            IocFilter { domain_suffix: Some("example".to_owned()), ..rare() },
            Expr::value("elpmaxe."),
        ),
    ] {
        for place in [None, after(at)] {
            let plan = plan(db, SQLITE, &listing(&account, &filter, place, 50)).await;
            assert!(
                plan.starts_with("SEARCH iocs USING COVERING INDEX") && !plan.contains("B-TREE"),
                "{filter:?}: {plan}"
            );
        }
    }
    let exact = plan(
        db,
        SQLITE,
        &listing(&account, &IocFilter { value: Some("1.2.3.4".to_owned()), ..rare() }, None, 50),
    )
    .await;
    assert!(exact.contains("value_head=?") && !exact.contains("B-TREE"), "{exact}");
    let few = Criteria {
        kinds: vec![Kind::Email],
        severities: vec![Severity::High],
        source_ids: vec![SourceId(Uuid::nil())],
        ..Criteria::default()
    };
    for place in [None, Some((3, IocId(Uuid::nil())))] {
        let chosen =
            plan(db, SQLITE, &candidates(&account, &[&few, &Criteria::default()], 9, place)).await;
        assert!(
            chosen.starts_with("SEARCH iocs USING INDEX iocs_by_change")
                && !chosen.contains("B-TREE"),
            "{chosen}"
        );
    }
    let walk = Walk {
        account: account.clone(),
        source: Some(SourceId(Uuid::nil())),
        but: vec![SourceId(Uuid::nil())],
        to: 9,
    };
    let at = Standpoint { precedence: 7, head: "evil.net".to_owned(), id: IocId(Uuid::nil()) };
    for place in [None, Some(&at)] {
        let steps = [
            precedence::behind(&walk, &[&few], place),
            precedence::members_before(&walk, GroupId(Uuid::nil()), place),
        ];
        for step in steps {
            let plan = plan(db, SQLITE, &step).await;
            assert!(
                plan.starts_with("SEARCH iocs USING INDEX iocs_by_precedence (account_id=?")
                    && !plan.contains("B-TREE"),
                "{plan}"
            );
            assert!(
                place.is_none() || plan.contains("(precedence,value_head,id)"),
                "a page begins where the last one ended: {plan}"
            );
        }
    }
    let next = plan(db, SQLITE, &changed(&account, 0, 9, Some((3, IocId(Uuid::nil()))))).await;
    assert!(
        next.contains("(seq,id)>(?,?)"),
        "the second page begins where the first ended: {next}"
    );
    let marked = plan(db, SQLITE, &to_resend(&[GroupId(Uuid::nil())])).await;
    assert!(marked.contains("members_to_resend"), "who is not marked is not looked at: {marked}");
}

/// The same on PostgreSQL, where the planner goes by what is there: of very many IOCs, each as
/// large as enrichment makes it, those are found in an index that are listed.
#[tokio::test]
async fn every_list_walks_along_an_index_of_postgresql() {
    let server = std::env::var("IOCAST_TEST_POSTGRES")
        .expect("IOCAST_TEST_POSTGRES names a PostgreSQL server; `make test` starts one");
    let name = format!("iocast_plans_{}", std::process::id());
    let admin = sea_orm::Database::connect(format!("{server}/postgres")).await.unwrap();
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let store = crate::Store::open(Some(&format!("{server}/{name}")), std::path::Path::new(""))
        .await
        .unwrap();
    let db = &store.read().0;
    let rows = "INSERT INTO iocs SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(g), 12, '0'))::uuid, '0123456789abcdef01234567', g / 10, g % 8, 'v' || g, 'v' || g, \
         CASE WHEN g % 8 = 0 THEN 'elpmaxe.' || g END, g, g, g % 3, 1 + g % 2, g, 0, repeat('x', 600), g, NULL, g % 1000, 0 FROM generate_series(1, 100000) g";
    db.execute_unprepared(rows).await.unwrap();
    db.execute_unprepared(
        "INSERT INTO ioc_sources (source_id, ioc_id) SELECT '00000000-0000-0000-0000-000000000000', id FROM iocs",
    )
    .await
    .unwrap();
    let members = "INSERT INTO members SELECT source_id, ioc_id, source_id, 1, 0, 0, 0, false, NULL, 0, false, false, NULL FROM ioc_sources";
    db.execute_unprepared(members).await.unwrap();
    db.execute_unprepared("VACUUM ANALYZE").await.unwrap();
    let account: AccountId = "0123456789abcdef01234567".parse().unwrap();
    let some = || IocFilter {
        kinds: vec![Kind::Email],
        severities: vec![Severity::High],
        ..IocFilter::default()
    };
    let after = |at: Expr| Some((at, Uuid::nil()));
    let mut finds = Vec::new();
    for (filter, at) in [
        (IocFilter::default(), Expr::value(7_000)),
        (some(), Expr::value(7_000)),
        (IocFilter { sources: vec![SourceId(Uuid::nil())], ..some() }, Expr::value(7_000)),
        (IocFilter { prefix: Some("v1".to_owned()), ..some() }, Expr::value("v1500")),
        (
            IocFilter { domain_suffix: Some("example".to_owned()), ..some() },
            Expr::value("elpmaxe.5"),
        ),
        (IocFilter { value: Some("v77".to_owned()), ..some() }, Expr::value("v77")),
    ] {
        finds.extend([None, after(at)].map(|place| listing(&account, &filter, place, 50)));
    }
    let few = Criteria {
        kinds: vec![Kind::Email],
        severities: vec![Severity::High],
        source_ids: vec![SourceId(Uuid::nil())],
        ..Criteria::default()
    };
    for place in [None, Some((3_000, IocId(Uuid::nil())))] {
        finds.push(candidates(&account, &[&few], 20_000, place).limit(2_000));
        finds.push(changed(&account, 2_000, 20_000, place).limit(2_000));
    }
    let walk = Walk { account: account.clone(), source: None, but: Vec::new(), to: 20_000 };
    let at = Standpoint { precedence: 700, head: "v17".to_owned(), id: IocId(Uuid::nil()) };
    for place in [None, Some(&at)] {
        finds.push(precedence::behind(&walk, &[&few], place).limit(2_000));
        finds.push(precedence::members_before(&walk, GroupId(Uuid::nil()), place).limit(16));
    }
    for find in &finds {
        let plan = plan(db, POSTGRES, find).await;
        assert!(plan.contains("Index") && !plan.contains("Seq Scan on iocs"), "{plan}");
    }
    let marked = plan(db, POSTGRES, &to_resend(&[GroupId(Uuid::nil())])).await;
    assert!(marked.contains("members_to_resend"), "{marked}");
    store.close().await.unwrap();
    admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}
