use super::*;

#[test]
fn the_table_is_sorted_and_every_row_is_found() {
    assert!(TABLE.is_sorted_by_key(|api| api.key as i16));
    for api in TABLE {
        assert_eq!(find(api.key as i16).unwrap().key, api.key);
        assert!(api.advertised_min <= api.min && api.min <= api.max, "{api:?}");
    }
    assert!(find(-1).is_none());
}
