"""The functions that a statement may call without being told: what computes from its arguments alone.

Left out is what reads files, settings, catalogues or the network, waits, writes, runs text as SQL, matches regular
expressions, or makes a value as large as an argument says.
"""

from __future__ import annotations

_AGGREGATES = """
array_agg avg bool_and bool_or corr count covar_pop covar_samp every group_concat json_agg json_group_array
json_group_object json_object_agg jsonb_agg jsonb_object_agg max median min mode percentile_cont percentile_disc
stddev stddev_pop stddev_samp string_agg sum total var_pop var_samp variance
"""
_WINDOWS = """
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
"""
_NUMBERS = """
abs acos asin atan atan2 ceil ceiling cos degrees div exp floor greatest least ln log log10 log2 mod pi pow power
radians round sign sin sqrt tan trunc width_bucket
"""
_TEXTS = """
ascii bit_length btrim char char_length character_length chr concat concat_ws glob hex initcap instr left length like
lower ltrim octet_length overlay position quote replace reverse right rtrim split_part starts_with strpos substr
substring to_char to_hex translate trim unicode upper
"""
_TIMES = """
age current_date current_time current_timestamp date date_bin date_part date_trunc datetime extract julianday
localtime localtimestamp make_date make_interval make_time make_timestamp now strftime time timediff to_date to_number
to_timestamp unixepoch
"""
_STRUCTURES = """
array_append array_length array_position array_remove array_to_json array_to_string cardinality json json_array
json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
json_each_text json_extract json_extract_path json_extract_path_text json_object json_object_keys json_tree json_type
json_typeof json_valid jsonb jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object_keys
jsonb_typeof row_to_json string_to_array to_json to_jsonb unnest
"""
_CHOICES = "coalesce ifnull iif likelihood likely max min nullif typeof unlikely"

DEFAULT_FUNCTIONS = frozenset(f"{_AGGREGATES} {_WINDOWS} {_NUMBERS} {_TEXTS} {_TIMES} {_STRUCTURES} {_CHOICES}".split())
