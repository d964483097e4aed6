-- schema.sql - a log in a database: its tables, and the functions that are the only way to them.
--
-- create.c puts in: @S@ the schema, quoted; @CHANNEL@ its name as a text; @LOCK@ the log's lock (the last three bits are 0: +1 is that of
-- collection, +2 and more those of offices); @ID@, @SETTINGS@ bytes in hexadecimal; @SIZE@ a number; @CREATED@ a time. All of it is one
-- transaction.
--
-- Backslashes are in E'...' only: such a text means the same whatever standard_conforming_strings is where it is read.
--
-- The order of locks is: @LOCK@ + 1, @LOCK@. Each function that is VOLATILE looks with a new snapshot in each of its statements, so what it
-- looks at behind a lock is what was there when it got it. That needs READ COMMITTED.
--
-- What is called often is in PL/pgSQL, which plans a statement once in a session: one in SQL is planned in each call, for longer than it runs.
CREATE SCHEMA @S@;

CREATE TABLE @S@.meta (
	one bool PRIMARY KEY DEFAULT true CHECK (one),
	format int NOT NULL,
	id bytea NOT NULL,
	created_at_ns bigint NOT NULL,
	settings bytea NOT NULL,
	settings_version bigint NOT NULL,
	max_event_size bigint NOT NULL -- the one of `settings`, for append()
);
-- bytes: the event, stamped with number and time 0. total: bytes of all events up to this one, those that were removed too.
CREATE TABLE @S@.events (
	seq bigint PRIMARY KEY,
	at_ns bigint NOT NULL,
	total bigint NOT NULL,
	type bytea NOT NULL,
	op bytea NOT NULL,
	bytes bytea NOT NULL
) WITH (toast_tuple_target = 8160);
ALTER TABLE @S@.events ALTER COLUMN bytes SET STORAGE EXTERNAL;
-- The last event that was removed.
CREATE TABLE @S@.tail (
	one bool PRIMARY KEY DEFAULT true CHECK (one),
	trimmed bigint NOT NULL,
	at_ns bigint NOT NULL,
	total bigint NOT NULL
);
CREATE TABLE @S@.checkpoints (
	id bytea PRIMARY KEY,
	seq bigint NOT NULL,
	hold bool NOT NULL,
	touched_at_ns bigint NOT NULL
) WITH (fillfactor = 20);
CREATE TABLE @S@.keys (key bytea PRIMARY KEY, first bigint NOT NULL, last bigint NOT NULL);
CREATE INDEX ON @S@.keys (last);
-- Processes. Others may take what one owns from until_ns on, or when its lock is gone (session_lock). lost: how often they have.
CREATE TABLE @S@.sessions (
	client bytea PRIMARY KEY,
	host bytea NOT NULL,
	pid int NOT NULL,
	until_ns bigint NOT NULL,
	lost bigint NOT NULL,
	unshown bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
-- What running watchers tell of themselves (shown.c). It may be lost with the server.
CREATE UNLOGGED TABLE @S@.rows (
	client bytea NOT NULL,
	place int NOT NULL,
	at_ns bigint NOT NULL,
	id bytea NOT NULL,
	numbers bytea NOT NULL,
	error bytea NOT NULL,
	PRIMARY KEY (client, place)
) WITH (fillfactor = 50);
CREATE INDEX ON @S@.rows (id);
-- Watcher ids. client NULL: no process owns it. brief: for a moment. Until awaited_ns, for a second at most, no one begins another moment,
-- since one waits to run it.
CREATE TABLE @S@.owners (
	id bytea PRIMARY KEY,
	epoch bigint NOT NULL,
	client bytea,
	brief bool NOT NULL,
	awaited_ns bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX ON @S@.owners (client);
-- What each process has stored last. results NULL: that commit never comes to be.
CREATE TABLE @S@.clients (
	id bytea PRIMARY KEY,
	counter bigint NOT NULL,
	results bigint[],
	at_ns bigint NOT NULL
) WITH (fillfactor = 20);
CREATE TABLE @S@.marks (
	at_ns bigint PRIMARY KEY,
	seq bigint NOT NULL,
	wall_ns bigint NOT NULL,
	boot_ns bigint NOT NULL,
	boot_id bigint NOT NULL
);
-- Buckets, dead letters and timers, as runtime/store writes them.
CREATE TABLE @S@.maps (map int NOT NULL, key bytea NOT NULL, value bytea NOT NULL, PRIMARY KEY (map, key));
ALTER TABLE @S@.maps ALTER COLUMN value SET STORAGE EXTERNAL;

-- Where an import that is not finished has come to. While there is a row, nothing else is stored.
CREATE TABLE @S@.import (
	one bool PRIMARY KEY DEFAULT true CHECK (one),
	first_sum bigint NOT NULL,
	records bigint NOT NULL,
	bytes bigint NOT NULL,
	sum bigint NOT NULL
);

INSERT INTO @S@.meta VALUES (true, 1, E'\\x@ID@', @CREATED@, E'\\x@SETTINGS@', 1, @SIZE@);
INSERT INTO @S@.tail VALUES (true, 0, 0, 0);

-- ---- times, locks, the store itself ----

CREATE FUNCTION @S@.wall_ns() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000
$$;

CREATE FUNCTION @S@.lock_writer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'append needs isolation level READ COMMITTED, and this transaction has another one' USING ERRCODE = '40001';
	END IF;
	PERFORM pg_advisory_xact_lock(@LOCK@);
	IF EXISTS (SELECT 1 FROM @S@.import) THEN
		RAISE EXCEPTION 'an import into this store is not finished: import the same export, or copy the same store, again to continue'
			USING ERRCODE = 'VG003';
	END IF;
END
$$;

CREATE FUNCTION @S@.lock_collector() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(@LOCK@ + 1);
END
$$;

CREATE FUNCTION @S@.meta_read()
RETURNS TABLE (format int, id bytea, created_at_ns bigint, settings bytea, settings_version bigint, importing bool)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT m.format, m.id, m.created_at_ns, m.settings, m.settings_version, EXISTS (SELECT 1 FROM @S@.import) FROM @S@.meta m
$$;

CREATE FUNCTION @S@.meta_write(p_settings bytea, p_max_event_size bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT pg_notify(@CHANNEL@, 's');
	UPDATE @S@.meta SET settings = p_settings, settings_version = settings_version + 1, max_event_size = p_max_event_size
		RETURNING settings_version
$$;

CREATE FUNCTION @S@.notify(p_news text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true), pg_notify(@CHANNEL@, p_news);
END
$$;

-- Others are told of wake words, and of the last number.
CREATE FUNCTION @S@.tell(p_words text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_last bigint;
BEGIN
	PERFORM set_config('synchronous_commit', 'off', true);
	SELECT e.seq INTO v_last FROM @S@.events e ORDER BY e.seq DESC LIMIT 1;
	PERFORM pg_notify(@CHANNEL@, p_words || '#' || coalesce(v_last, 0));
END
$$;

CREATE FUNCTION @S@.sizes() RETURNS TABLE (file_bytes bigint, used_bytes bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,
		coalesce((SELECT e.total FROM @S@.events e ORDER BY e.seq DESC LIMIT 1) - (SELECT t.total FROM @S@.tail t), 0)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = @CHANNEL@ AND c.relkind = 'r'
$$;

-- ---- appends ----

-- One commit. What it stores, in order: appends (p_counts events each, of the lists p_types, p_ops, p_bytes; p_sizes: the bytes of each and of
-- those before it), progress (p_epochs 0 or more: only if the id's epoch is that, with p_strict all of it or nothing; p_done NULL: nothing but
-- that condition), checkpoints (-1; -2: not back; -2 - epoch: not back, and only if the epoch is that), and records of maps (a value that is
-- NULL: removed), which the same transaction has looked at. The numbers of a commit: of each
-- append 0 stored, 1 existed, 2 refused because of if_last (its first number is then the last there is), first, last; behind them the
-- places in p_ids of progress that was not stored. Asked again with the same counter it returns the same and stores nothing; it writes all the
-- same, because its own commit then waits until standbys have confirmed that one.
CREATE FUNCTION @S@.commit(p_client bytea, p_counter bigint, p_now bigint, p_counts int[], p_keys bytea[], p_if_last bigint[],
	p_not_before bigint[], p_types bytea[], p_ops bytea[], p_bytes bytea[], p_ids bytea[], p_done bigint[], p_epochs bigint[],
	p_sizes bigint[], p_strict bool, p_maps int[], p_map_keys bytea[], p_map_values bytea[], p_async bool, p_news text)
RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_counter bigint;
	v_results bigint[];
	v_last bigint;
	v_at bigint;
	v_total bigint;
	v_wall bigint;
	v_fenced bigint[];
	v_importing bool;
	v_from int := 1;
	v_to int;
	v_before bigint := 0; -- of p_sizes
	v_first bigint;
	v_key_last bigint;
	v_nothing text;
BEGIN
	-- As lock_writer(), and without a statement of its own for each: a commit of one event would spend half its time on them.
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'a log is written in READ COMMITTED only' USING ERRCODE = '40001';
	END IF;
	v_nothing := pg_advisory_xact_lock(@LOCK@);
	v_wall := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000;
	SELECT EXISTS (SELECT 1 FROM @S@.import), c.counter, c.results, coalesce(e.seq, t.trimmed), coalesce(e.at_ns, t.at_ns),
			coalesce(e.total, t.total)
		INTO v_importing, v_counter, v_results, v_last, v_at, v_total
		FROM @S@.tail t LEFT JOIN @S@.clients c ON c.id = p_client
			LEFT JOIN (SELECT x.seq, x.at_ns, x.total FROM @S@.events x ORDER BY x.seq DESC LIMIT 1) e ON true;
	IF v_importing THEN
		PERFORM @S@.lock_writer(); -- which says so
	END IF;
	IF v_counter = p_counter AND v_results IS NOT NULL THEN
		UPDATE @S@.clients SET at_ns = v_wall WHERE id = p_client;
		RETURN v_results;
	ELSIF v_counter >= p_counter THEN
		RAISE EXCEPTION 'commit % was given up: commit % of this process is stored', p_counter, v_counter USING ERRCODE = 'VG001';
	END IF;
	IF p_async THEN
		v_nothing := set_config('synchronous_commit', 'off', true);
	END IF;
	v_results := '{}';
	IF cardinality(p_counts) > 0 THEN
		v_at := greatest(v_at, coalesce(p_now, v_wall));
		IF p_keys IS NULL AND p_if_last IS NULL AND p_not_before IS NULL THEN
			IF cardinality(p_bytes) = 1 THEN
				INSERT INTO @S@.events (seq, at_ns, total, type, op, bytes)
					VALUES (v_last + 1, v_at, v_total + p_sizes[1], p_types[1], p_ops[1], p_bytes[1]);
			ELSE
				INSERT INTO @S@.events (seq, at_ns, total, type, op, bytes)
					SELECT v_last + u.ord, v_at, v_total + u.size, u.type, u.op, u.bytes
					FROM unnest(p_types, p_ops, p_bytes, p_sizes) WITH ORDINALITY AS u(type, op, bytes, size, ord);
			END IF;
			FOR i IN 1 .. cardinality(p_counts) LOOP
				v_results := v_results || ARRAY[0, v_last + 1, v_last + p_counts[i]];
				v_last := v_last + p_counts[i];
			END LOOP;
		ELSE
			FOR i IN 1 .. cardinality(p_counts) LOOP
				v_to := v_from + p_counts[i] - 1;
				v_first := NULL;
				IF p_keys[i] IS NOT NULL THEN
					SELECT k.first, k.last INTO v_first, v_key_last FROM @S@.keys k WHERE k.key = p_keys[i];
				END IF;
				IF v_first IS NOT NULL THEN
					v_results := v_results || ARRAY[1, v_first, v_key_last];
				ELSIF p_if_last[i] <> v_last THEN
					v_results := v_results || ARRAY[2, v_last, 0];
				ELSE
					v_at := greatest(v_at, p_not_before[i]);
					INSERT INTO @S@.events (seq, at_ns, total, type, op, bytes)
						SELECT v_last + u.ord, v_at, v_total + u.size - v_before, u.type, u.op, u.bytes
						FROM unnest(p_types[v_from:v_to], p_ops[v_from:v_to], p_bytes[v_from:v_to], p_sizes[v_from:v_to])
							WITH ORDINALITY AS u(type, op, bytes, size, ord);
					IF p_keys[i] IS NOT NULL THEN
						INSERT INTO @S@.keys VALUES (p_keys[i], v_last + 1, v_last + p_counts[i]);
					END IF;
					v_results := v_results || ARRAY[0, v_last + 1, v_last + p_counts[i]];
					v_last := v_last + p_counts[i];
					v_total := v_total + coalesce(p_sizes[v_to], 0) - v_before;
				END IF;
				v_before := coalesce(p_sizes[v_to], 0);
				v_from := v_to + 1;
			END LOOP;
		END IF;
	END IF;
	IF cardinality(p_ids) > 0 THEN
		SELECT array_agg(u.ord ORDER BY u.ord) INTO v_fenced FROM unnest(p_ids, p_epochs) WITH ORDINALITY AS u(id, epoch, ord)
			WHERE u.epoch NOT IN (-1, -2) AND NOT EXISTS (SELECT 1 FROM @S@.owners o
				WHERE o.id = u.id AND o.epoch = greatest(u.epoch, -2 - u.epoch) AND o.client = p_client);
		IF p_strict AND v_fenced IS NOT NULL THEN
			RAISE EXCEPTION 'another process runs the watcher' USING ERRCODE = 'VG002';
		END IF;
		INSERT INTO @S@.checkpoints AS c (id, seq, hold, touched_at_ns)
			SELECT DISTINCT ON (u.id) u.id, u.seq, false, v_wall
			FROM unnest(p_ids, p_done, p_epochs) WITH ORDINALITY AS u(id, seq, epoch, ord)
			WHERE u.epoch >= 0 AND u.seq IS NOT NULL AND EXISTS (SELECT 1 FROM @S@.owners o
				WHERE o.id = u.id AND o.epoch = u.epoch AND o.client = p_client)
			ORDER BY u.id, u.ord DESC
			ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hold = false, touched_at_ns = excluded.touched_at_ns;
		FOR i IN 1 .. cardinality(p_ids) LOOP
			CONTINUE WHEN p_epochs[i] >= 0 OR i = ANY (v_fenced);
			INSERT INTO @S@.checkpoints AS c (id, seq, hold, touched_at_ns) VALUES (p_ids[i], p_done[i], false, v_wall)
				ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hold = false, touched_at_ns = excluded.touched_at_ns
				WHERE p_epochs[i] = -1 OR c.hold OR c.seq < excluded.seq;
		END LOOP;
		v_results := v_results || v_fenced;
	END IF;
	IF cardinality(p_maps) > 0 THEN
		PERFORM @S@.map_store(p_maps, p_map_keys, p_map_values);
	END IF;
	IF v_counter IS NULL THEN
		INSERT INTO @S@.clients VALUES (p_client, p_counter, v_results, v_wall);
	ELSE
		UPDATE @S@.clients SET counter = p_counter, results = v_results, at_ns = v_wall WHERE id = p_client;
	END IF;
	IF p_news <> '' THEN -- what must not be lost
		PERFORM pg_notify(@CHANNEL@, p_news || '#' || coalesce(v_last, 0));
	END IF;
	RETURN v_results;
END
$$;

-- What became of a commit whose answer was lost: its numbers; NULL: it was not done, and never will be. It writes in any case, so that an
-- answer that a quorum has confirmed confirms that commit too.
CREATE FUNCTION @S@.settle(p_client bytea, p_counter bigint) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_results bigint[];
BEGIN
	PERFORM pg_advisory_xact_lock(@LOCK@); -- also beside an import
	INSERT INTO @S@.clients AS c VALUES (p_client, p_counter, NULL, @S@.wall_ns())
		ON CONFLICT (id) DO UPDATE SET counter = excluded.counter, at_ns = excluded.at_ns,
			results = CASE WHEN c.counter = p_counter THEN c.results END
		WHERE c.counter <= p_counter
		RETURNING c.results INTO v_results;
	RETURN v_results;
END
$$;

-- The process ends, and asks no more.
CREATE FUNCTION @S@.leave(p_client bytea) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE @S@.owners SET client = NULL WHERE client = p_client;
	DELETE FROM @S@.sessions WHERE client = p_client;
	DELETE FROM @S@.clients WHERE id = p_client
$$;

CREATE FUNCTION @S@.key_find(p_key bytea) RETURNS TABLE (first bigint, last bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY SELECT k.first, k.last FROM @S@.keys k WHERE k.key = p_key;
END
$$;

-- ---- appends in SQL ----

-- The head of a string or of bytes of this length, as in an event (core/event.h).
CREATE FUNCTION @S@.str_head(p_length int) RETURNS bytea LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN p_length < 32 THEN set_byte(E'\\x00', 0, 160 + p_length) ELSE set_byte(E'\\xd900', 1, p_length) END
$$;
CREATE FUNCTION @S@.bin_head(p_length int) RETURNS bytea LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN p_length < 256 THEN set_byte(E'\\xc400', 1, p_length)
		WHEN p_length < 65536 THEN E'\\xc5'::bytea || substr(int4send(p_length), 3) ELSE E'\\xc6'::bytea || int4send(p_length) END
$$;

-- Store an event as part of the caller's transaction: its number, or that of the event that has the key. From here to its end, no other
-- transaction stores events: so call it last. The object is kept as JSON, by the library's serializer of that name. sql_event.c says what
-- sum it has.
CREATE FUNCTION @S@.append(p_type text, p_operation text, p_object jsonb, p_key text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_type bytea := convert_to(coalesce(p_type, ''), 'UTF8');
	v_op bytea := convert_to(coalesce(p_operation, ''), 'UTF8');
	v_key bytea := convert_to(p_key, 'UTF8');
	v_object bytea := convert_to(coalesce(p_object, 'null')::text, 'UTF8');
	v_rest bytea;
	v_last bigint;
	v_at bigint;
	v_total bigint;
	v_most bigint;
BEGIN
	IF octet_length(v_type) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'object_type must have 1 to 255 bytes, has %', octet_length(v_type) USING ERRCODE = '22023';
	ELSIF octet_length(v_op) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'operation must have 1 to 255 bytes, has %', octet_length(v_op) USING ERRCODE = '22023';
	ELSIF octet_length(v_key) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'key must have 1 to 255 bytes, has %', octet_length(v_key) USING ERRCODE = '22023';
	ELSIF jsonb_path_exists(p_object,
			'strict $.** ? (@.type() == "number" && (@ > 9223372036854775807 || @ < -9223372036854775808))') THEN
		RAISE EXCEPTION 'object has a number beyond 64 bits' USING ERRCODE = '22003';
	ELSIF jsonb_path_exists(p_object, 'strict $.**{128 to last} ? (@.type() == "array" || @.type() == "object")') THEN
		RAISE EXCEPTION 'object has more than 128 levels' USING ERRCODE = '22023';
	END IF;
	v_rest := E'\\xcf0000000000000000'::bytea
		|| CASE p_operation WHEN 'CREATE' THEN E'\\x01'::bytea WHEN 'UPDATE' THEN E'\\x02' WHEN 'DELETE' THEN E'\\x03'
			ELSE @S@.str_head(octet_length(v_op)) || v_op END
		|| @S@.str_head(octet_length(v_type)) || v_type
		|| E'\\xa46a736f6e' || @S@.bin_head(octet_length(v_object)) || v_object;
	PERFORM @S@.lock_writer();
	SELECT k.first INTO v_last FROM @S@.keys k WHERE k.key = v_key;
	IF FOUND THEN
		RETURN v_last;
	END IF;
	SELECT m.max_event_size INTO v_most FROM @S@.meta m;
	IF octet_length(v_rest) + 6 > v_most THEN
		RAISE EXCEPTION 'the event has % bytes, max_event_size is % bytes', octet_length(v_rest) + 6, v_most USING ERRCODE = '54000';
	END IF;
	SELECT e.seq, e.at_ns, e.total INTO v_last, v_at, v_total FROM @S@.events e ORDER BY e.seq DESC LIMIT 1;
	IF NOT FOUND THEN
		SELECT t.trimmed, t.at_ns, t.total INTO v_last, v_at, v_total FROM @S@.tail t;
	END IF;
	INSERT INTO @S@.events VALUES (v_last + 1, greatest(v_at, @S@.wall_ns()), v_total + octet_length(v_rest) + 6, v_type, v_op,
		E'\\x96d2'::bytea || substr(sha256(v_rest), 1, 4) || v_rest);
	IF v_key IS NOT NULL THEN
		INSERT INTO @S@.keys VALUES (v_key, v_last + 1, v_last + 1);
	END IF;
	PERFORM pg_notify(@CHANNEL@, 'w*#' || v_last + 1);
	RETURN v_last + 1;
END
$$;

-- ---- reads ----

-- oldest 0: there is no event.
CREATE FUNCTION @S@.bounds() RETURNS TABLE (oldest bigint, latest bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY SELECT CASE WHEN e.seq IS NULL THEN 0 ELSE t.trimmed + 1 END, coalesce(e.seq, t.trimmed)
		FROM @S@.tail t LEFT JOIN (SELECT x.seq FROM @S@.events x ORDER BY x.seq DESC LIMIT 1) e ON true;
END
$$;

-- What each process looks at once a second. processes: that use the log.
CREATE FUNCTION @S@.look_around() RETURNS TABLE (latest bigint, processes bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_wall bigint := @S@.wall_ns();
BEGIN
	latest := (SELECT b.latest FROM @S@.bounds() b);
	processes := (SELECT count(*) FROM @S@.sessions s WHERE s.until_ns > v_wall);
	RETURN NEXT;
END
$$;

-- The first row has the bounds (oldest in seq, latest in at_ns), those behind it up to p_count events, up to about p_bytes bytes.
CREATE FUNCTION @S@.read(p_from bigint, p_count int, p_bytes bigint) RETURNS TABLE (seq bigint, at_ns bigint, bytes bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	v_oldest bigint;
	v_latest bigint;
	v_from bigint;
BEGIN
	SELECT t.trimmed + 1, coalesce(e.seq, t.trimmed) INTO v_oldest, v_latest
		FROM @S@.tail t LEFT JOIN (SELECT x.seq FROM @S@.events x ORDER BY x.seq DESC LIMIT 1) e ON true;
	v_from := greatest(p_from, v_oldest);
	seq := CASE WHEN v_oldest > v_latest THEN 0 ELSE v_oldest END;
	at_ns := v_latest;
	RETURN NEXT;
	IF v_from > v_latest THEN
		RETURN;
	END IF;
	-- A sum over the rows, or a limit on them, would take three times as long.
	RETURN QUERY SELECT e.seq, e.at_ns, e.bytes FROM @S@.events e
		WHERE e.seq >= v_from AND e.seq < v_from + p_count AND e.total - octet_length(e.bytes)
			< p_bytes + (SELECT f.total - octet_length(f.bytes) FROM @S@.events f WHERE f.seq = v_from) ORDER BY e.seq;
END
$$;

-- The first event at or behind a time, NULL: none. Times never go back, and numbers have no holes.
CREATE FUNCTION @S@.find_time(p_at_ns bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_low bigint;
	v_high bigint;
	v_middle bigint;
	v_at bigint;
BEGIN
	SELECT b.oldest, b.latest + 1 INTO v_low, v_high FROM @S@.bounds() b;
	IF v_low = 0 THEN
		RETURN NULL;
	END IF;
	WHILE v_low < v_high LOOP
		v_middle := (v_low + v_high) / 2;
		SELECT e.at_ns INTO v_at FROM @S@.events e WHERE e.seq = v_middle;
		IF v_at < p_at_ns THEN v_low := v_middle + 1; ELSE v_high := v_middle; END IF;
	END LOOP;
	RETURN (SELECT e.seq FROM @S@.events e WHERE e.seq = v_low);
END
$$;

-- ---- checkpoints ----

CREATE FUNCTION @S@.checkpoint_get(p_id bytea) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT c.seq FROM @S@.checkpoints c WHERE c.id = p_id AND NOT c.hold);
END
$$;

CREATE FUNCTION @S@.checkpoint_each(p_hold bool) RETURNS TABLE (id bytea, seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.id, c.seq FROM @S@.checkpoints c WHERE c.hold = p_hold ORDER BY c.id
$$;

CREATE FUNCTION @S@.checkpoint_delete(p_id bytea) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM @S@.lock_writer();
	DELETE FROM @S@.checkpoints WHERE id = p_id;
	RETURN FOUND;
END
$$;

CREATE FUNCTION @S@.touch(p_id bytea) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE @S@.checkpoints SET touched_at_ns = @S@.wall_ns() WHERE id = p_id
$$;

-- p_seq NULL: behind the last event, or with p_horizon before the oldest one. has: it has a checkpoint.
CREATE FUNCTION @S@.hold(p_id bytea, p_seq bigint, p_horizon bool) RETURNS TABLE (has bool, seq bigint, made bool)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	v_seq bigint := p_seq;
BEGIN
	PERFORM @S@.lock_collector();
	PERFORM @S@.lock_writer();
	RETURN QUERY SELECT NOT c.hold, c.seq, false FROM @S@.checkpoints c WHERE c.id = p_id;
	IF FOUND THEN
		RETURN;
	END IF;
	IF v_seq IS NULL THEN
		SELECT CASE WHEN p_horizon AND b.oldest > 0 THEN b.oldest - 1 ELSE b.latest END INTO v_seq FROM @S@.bounds() b;
	END IF;
	INSERT INTO @S@.checkpoints VALUES (p_id, v_seq, true, @S@.wall_ns());
	RETURN QUERY SELECT false, v_seq, true;
END
$$;

-- ---- owners ----

CREATE FUNCTION @S@.session_lock(p_client bytea) RETURNS bigint LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ('x' || encode(substr(sha256(E'\\x@ID@'::bytea || p_client), 1, 8), 'hex'))::bit(64)::bigint
$$;

-- Does the process have a session with its lock?
CREATE FUNCTION @S@.connected(p_client bytea) RETURNS bool LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
		AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
		AND l.classid::bigint = (@S@.session_lock(p_client) >> 32 & 4294967295)
		AND l.objid::bigint = (@S@.session_lock(p_client) & 4294967295))
$$;

-- And its lease?
CREATE FUNCTION @S@.alive(p_client bytea) RETURNS bool LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT 1 FROM @S@.sessions s WHERE s.client = p_client AND s.until_ns > @S@.wall_ns())
		AND @S@.connected(p_client)
$$;

-- A session of this process begins, which has these ids at these epochs. The first row: how often it has lost one; behind it those it has
-- no more. The lock is shared: the server may not know yet that an earlier session of the process is gone.
CREATE FUNCTION @S@.enter(p_client bytea, p_host bytea, p_pid int, p_lease bigint, p_ids bytea[], p_epochs bigint[])
RETURNS TABLE (lost bigint, id bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	v_lost bigint;
BEGIN
	PERFORM pg_advisory_lock_shared(@S@.session_lock(p_client));
	PERFORM pg_advisory_xact_lock(@LOCK@); -- also while an import is not finished
	PERFORM pg_notify(@CHANNEL@, 'p') FROM @S@.sessions s HAVING count(*) > 0;
	INSERT INTO @S@.sessions AS s VALUES (p_client, p_host, p_pid, @S@.wall_ns() + p_lease, 0)
		ON CONFLICT (client) DO UPDATE SET until_ns = excluded.until_ns RETURNING s.lost INTO v_lost;
	UPDATE @S@.owners o SET client = NULL
		WHERE o.client = p_client AND NOT EXISTS (SELECT 1 FROM unnest(p_ids) AS u(id) WHERE u.id = o.id);
	RETURN QUERY SELECT v_lost, NULL::bytea;
	RETURN QUERY SELECT v_lost, u.id FROM unnest(p_ids, p_epochs) AS u(id, epoch)
		WHERE NOT EXISTS (SELECT 1 FROM @S@.owners o WHERE o.id = u.id AND o.epoch = u.epoch AND o.client = p_client);
END
$$;

-- How often the process has lost an id. NULL: it is not known here.
CREATE FUNCTION @S@.renew(p_client bytea, p_lease bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT set_config('synchronous_commit', 'off', true);
	UPDATE @S@.sessions SET until_ns = @S@.wall_ns() + p_lease WHERE client = p_client RETURNING lost
$$;

-- The new epoch. 0: another process has it for a moment, or with p_brief waits to run it. NULL: another one runs it.
CREATE FUNCTION @S@.own(p_id bytea, p_client bytea, p_brief bool) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_client bytea;
	v_brief bool;
	v_awaited bigint;
	v_epoch bigint;
BEGIN
	PERFORM @S@.lock_writer();
	SELECT o.client, o.brief, o.awaited_ns INTO v_client, v_brief, v_awaited FROM @S@.owners o WHERE o.id = p_id;
	IF v_client <> p_client AND @S@.alive(v_client) THEN
		IF v_brief AND NOT p_brief THEN
			UPDATE @S@.owners SET awaited_ns = @S@.wall_ns() + 1000000000 WHERE id = p_id;
		END IF;
		RETURN CASE WHEN v_brief THEN 0 END;
	ELSIF p_brief AND v_awaited - @S@.wall_ns() BETWEEN 1 AND 1000000000 THEN -- more: by the clock of an earlier primary
		RETURN 0;
	ELSIF v_client <> p_client THEN
		UPDATE @S@.sessions SET lost = lost + 1 WHERE client = v_client;
		PERFORM pg_notify(@CHANNEL@, 'o');
	END IF;
	DELETE FROM @S@.rows r WHERE r.id = p_id AND NOT p_brief AND r.client <> p_client AND NOT @S@.alive(r.client);
	INSERT INTO @S@.owners AS o VALUES (p_id, 1, p_client, p_brief)
		ON CONFLICT (id) DO UPDATE SET epoch = o.epoch + 1, client = excluded.client, brief = excluded.brief, awaited_ns = 0
		RETURNING o.epoch INTO v_epoch;
	RETURN v_epoch;
END
$$;

CREATE FUNCTION @S@.disown(p_id bytea, p_client bytea, p_epoch bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT set_config('synchronous_commit', 'off', true);
	UPDATE @S@.owners SET client = NULL WHERE id = p_id AND client = p_client AND epoch = p_epoch
$$;

-- held: a process runs it. host, pid: its, or those of the last one.
CREATE FUNCTION @S@.owner(p_id bytea) RETURNS TABLE (held bool, host bytea, pid int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(NOT o.brief AND @S@.alive(o.client), false), s.host, s.pid
	FROM (SELECT 1) AS one(x) LEFT JOIN @S@.owners o ON o.id = p_id LEFT JOIN @S@.sessions s ON s.client = o.client
$$;

-- ---- the rows of running watchers ----

CREATE FUNCTION @S@.rows_put(p_client bytea, p_places int[], p_ids bytea[], p_numbers bytea[], p_errors bytea[], p_unshown bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT set_config('synchronous_commit', 'off', true);
	UPDATE @S@.sessions SET unshown = p_unshown WHERE client = p_client AND unshown <> p_unshown;
	INSERT INTO @S@.rows AS r SELECT p_client, u.place, @S@.wall_ns(), u.id, u.numbers, u.error
		FROM unnest(p_places, p_ids, p_numbers, p_errors) AS u(place, id, numbers, error)
		ON CONFLICT (client, place) DO UPDATE
		SET at_ns = excluded.at_ns, id = excluded.id, numbers = excluded.numbers, error = excluded.error
$$;

-- Those of other processes; and a row without an id, whose age is the number of watchers without one.
CREATE FUNCTION @S@.rows_of_others(p_client bytea)
RETURNS TABLE (id bytea, numbers bytea, error bytea, age_ns bigint, alive bool, pid int, host bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH s AS MATERIALIZED (SELECT x.client, x.pid, x.host, x.unshown, @S@.alive(x.client) AS alive FROM @S@.sessions x
		WHERE x.client <> p_client)
	SELECT r.id, r.numbers, r.error, @S@.wall_ns() - r.at_ns, coalesce(s.alive, false), s.pid, s.host
		FROM @S@.rows r LEFT JOIN s ON s.client = r.client WHERE r.client <> p_client
	UNION ALL SELECT NULL, NULL, NULL, coalesce(sum(s.unshown), 0)::bigint, NULL, NULL, NULL FROM s WHERE s.alive
$$;

-- ---- offices: locks of the session that calls ----

CREATE FUNCTION @S@.elect(p_office int) RETURNS bool LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT pg_try_advisory_lock(@LOCK@ + 2 + p_office)
$$;

CREATE FUNCTION @S@.resign(p_office int) RETURNS bool LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT pg_advisory_unlock(@LOCK@ + 2 + p_office)
$$;

-- ---- removing ----

-- Up to p_upto, but at most p_most events.
CREATE FUNCTION @S@.trim(p_upto bigint, p_most bigint) RETURNS TABLE (removed bigint, oldest bigint, latest bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	v_trimmed bigint;
	v_upto bigint;
BEGIN
	PERFORM @S@.lock_collector();
	IF EXISTS (SELECT 1 FROM @S@.import) THEN
		RAISE EXCEPTION 'an import into this store is not finished' USING ERRCODE = 'VG003';
	END IF;
	SELECT t.trimmed, least(p_upto, t.trimmed + p_most, b.latest) INTO v_trimmed, v_upto FROM @S@.tail t, @S@.bounds() b;
	IF v_upto > v_trimmed THEN
		UPDATE @S@.tail SET trimmed = e.seq, at_ns = e.at_ns, total = e.total FROM @S@.events e WHERE e.seq = v_upto;
		DELETE FROM @S@.events e WHERE e.seq > v_trimmed AND e.seq <= v_upto;
		DELETE FROM @S@.keys k WHERE k.last <= v_upto;
	END IF;
	RETURN QUERY SELECT greatest(v_upto - v_trimmed, 0), b.oldest, b.latest FROM @S@.bounds() b;
END
$$;

-- The last number that goes when no more than p_bytes bytes of events are to stay.
CREATE FUNCTION @S@.heavy(p_bytes bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_low bigint;
	v_high bigint;
	v_middle bigint;
	v_total bigint;
	v_limit bigint;
BEGIN
	SELECT b.oldest, b.latest INTO v_low, v_high FROM @S@.bounds() b;
	SELECT e.total - p_bytes INTO v_limit FROM @S@.events e WHERE e.seq = v_high;
	IF v_low = 0 OR v_limit <= (SELECT t.total FROM @S@.tail t) THEN
		RETURN 0;
	END IF;
	WHILE v_low < v_high LOOP
		v_middle := (v_low + v_high) / 2;
		SELECT e.total INTO v_total FROM @S@.events e WHERE e.seq = v_middle;
		IF v_total < v_limit THEN v_low := v_middle + 1; ELSE v_high := v_middle; END IF;
	END LOOP;
	RETURN v_low;
END
$$;

-- All checkpoints and holds: how many, how many that count, the lowest of these, whose it is.
CREATE FUNCTION @S@.holders(p_ttl_ns bigint) RETURNS TABLE (count bigint, live bigint, seq bigint, id bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH alive AS (SELECT c.id, c.seq FROM @S@.checkpoints c WHERE p_ttl_ns = 0 OR c.touched_at_ns > @S@.wall_ns() - p_ttl_ns)
	SELECT (SELECT count(*) FROM @S@.checkpoints), (SELECT count(*) FROM alive), l.seq, l.id
	FROM (SELECT 1) AS one(x) LEFT JOIN (SELECT a.seq, a.id FROM alive a ORDER BY a.seq, a.id LIMIT 1) l ON true
$$;

CREATE FUNCTION @S@.touch_all(p_ids bytea[]) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE @S@.checkpoints SET touched_at_ns = @S@.wall_ns() WHERE id = ANY (p_ids)
$$;

-- There is always a row, which has now_ns.
CREATE FUNCTION @S@.marks_read() RETURNS TABLE (at_ns bigint, seq bigint, wall_ns bigint, boot_ns bigint, boot_id bigint, now_ns bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT m.at_ns, m.seq, m.wall_ns, m.boot_ns, m.boot_id, c.now_ns
		FROM (SELECT @S@.wall_ns()) AS c(now_ns) LEFT JOIN @S@.marks m ON true ORDER BY m.at_ns
$$;

-- And forget those before p_keep, and processes of which nothing was heard for a week, but for those that are connected.
CREATE FUNCTION @S@.mark(p_at bigint, p_seq bigint, p_wall bigint, p_boot bigint, p_boot_id bigint, p_keep bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO @S@.marks SELECT p_at, p_seq, p_wall, p_boot, p_boot_id WHERE p_seq > 0 ON CONFLICT DO NOTHING;
	DELETE FROM @S@.marks WHERE at_ns < p_keep;
	DELETE FROM @S@.sessions s WHERE s.until_ns < @S@.wall_ns() - 604800000000000 AND NOT @S@.connected(s.client);
	DELETE FROM @S@.rows WHERE at_ns < @S@.wall_ns() - 604800000000000;
	DELETE FROM @S@.clients c WHERE c.at_ns < @S@.wall_ns() - 604800000000000
		AND NOT EXISTS (SELECT 1 FROM @S@.sessions s WHERE s.client = c.id)
$$;

-- ---- maps ----

CREATE FUNCTION @S@.map_get(p_map int, p_key bytea) RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT m.value FROM @S@.maps m WHERE m.map = p_map AND m.key = p_key);
END
$$;

-- Up to p_count records from a key on. p_from: 0 at least, 1 above, 2 at most, 3 below.
CREATE FUNCTION @S@.map_seek(p_map int, p_key bytea, p_from int, p_count int) RETURNS TABLE (key bytea, value bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF p_from = 0 THEN
		RETURN QUERY SELECT m.key, m.value FROM @S@.maps m WHERE m.map = p_map AND m.key >= p_key ORDER BY m.key LIMIT p_count;
	ELSIF p_from = 1 THEN
		RETURN QUERY SELECT m.key, m.value FROM @S@.maps m WHERE m.map = p_map AND m.key > p_key ORDER BY m.key LIMIT p_count;
	ELSIF p_from = 2 THEN
		RETURN QUERY SELECT m.key, m.value FROM @S@.maps m WHERE m.map = p_map AND m.key <= p_key ORDER BY m.key DESC LIMIT p_count;
	ELSE
		RETURN QUERY SELECT m.key, m.value FROM @S@.maps m WHERE m.map = p_map AND m.key < p_key ORDER BY m.key DESC LIMIT p_count;
	END IF;
END
$$;

-- Records by their keys, with the log's lock, until the transaction ends; value NULL: there is none.
CREATE FUNCTION @S@.look(p_maps int[], p_keys bytea[]) RETURNS TABLE (map int, key bytea, value bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM @S@.lock_writer();
	FOR i IN 1 .. cardinality(p_keys) LOOP
		map := p_maps[i];
		key := p_keys[i];
		value := (SELECT m.value FROM @S@.maps m WHERE m.map = p_maps[i] AND m.key = p_keys[i]);
		RETURN NEXT;
	END LOOP;
END
$$;

-- Each key is there once.
CREATE FUNCTION @S@.map_store(p_maps int[], p_keys bytea[], p_values bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM @S@.maps m USING unnest(p_maps, p_keys, p_values) AS u(map, key, value)
		WHERE u.value IS NULL AND m.map = u.map AND m.key = u.key;
	INSERT INTO @S@.maps AS m SELECT u.map, u.key, u.value FROM unnest(p_maps, p_keys, p_values) AS u(map, key, value)
		WHERE u.value IS NOT NULL ON CONFLICT (map, key) DO UPDATE SET value = excluded.value;
END
$$;

-- Of the keys of appends: how many, and how many say what cannot be.
CREATE FUNCTION @S@.look_beside() RETURNS TABLE (checkpoints bigint, beyond bigint, keys bigint, keys_wrong bigint, events bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT (SELECT count(*) FROM @S@.checkpoints WHERE NOT hold), (SELECT count(*) FROM @S@.checkpoints WHERE seq > b.latest),
		(SELECT count(*) FROM @S@.keys), (SELECT count(*) FROM @S@.keys WHERE first < 1 OR first > last OR last > b.latest),
		(SELECT count(*) FROM @S@.events)
	FROM @S@.bounds() b
$$;

-- ---- export and import ----

CREATE FUNCTION @S@.keys_of(p_from bigint, p_upto bigint) RETURNS TABLE (key bytea, first bigint, last bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT k.key, k.first, k.last FROM @S@.keys k WHERE k.last BETWEEN p_from AND p_upto ORDER BY k.last
$$;

CREATE FUNCTION @S@.gone_at() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT t.at_ns FROM @S@.tail t
$$;

CREATE FUNCTION @S@.import_mark() RETURNS TABLE (first_sum bigint, records bigint, bytes bigint, sum bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT i.first_sum, i.records, i.bytes, i.sum FROM @S@.import i
$$;

-- The locks of an import's commit: others wait, and find its mark.
CREATE FUNCTION @S@.import_lock() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM @S@.lock_collector();
	PERFORM pg_advisory_xact_lock(@LOCK@);
END
$$;

-- Behind import_lock. NULL: begun, and the mark is there. Else why not: 'import', an unfinished one; or what the log holds. p_anew: remove what
-- an unfinished one has stored. p_resumes: only what it has stored beside events and keys.
CREATE FUNCTION @S@.import_begin(p_anew bool, p_resumes bool, p_settings bytea, p_max_event_size bigint, p_gone bigint, p_gone_at_ns bigint,
	p_mark bigint[])
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_unfinished bool := EXISTS (SELECT 1 FROM @S@.import);
BEGIN
	IF NOT p_anew AND EXISTS (SELECT 1 FROM @S@.import i WHERE ARRAY[i.first_sum, i.records, i.bytes, i.sum] = p_mark) THEN
		RETURN NULL; -- asked again, because the answer was lost
	ELSIF v_unfinished <> (p_anew AND v_unfinished OR p_resumes) THEN
		RETURN 'import';
	ELSIF NOT v_unfinished THEN
		IF EXISTS (SELECT 1 FROM @S@.events) THEN RETURN 'events'; END IF;
		IF EXISTS (SELECT 1 FROM @S@.tail WHERE trimmed > 0) THEN RETURN 'given numbers to events that were removed'; END IF;
		IF EXISTS (SELECT 1 FROM @S@.checkpoints) THEN RETURN 'checkpoints, or watchers that hold events'; END IF;
		IF EXISTS (SELECT 1 FROM @S@.maps WHERE map = 0) THEN RETURN 'buckets or dead letters'; END IF;
		IF EXISTS (SELECT 1 FROM @S@.maps) THEN RETURN 'events that wait for their time'; END IF;
	END IF;
	DELETE FROM @S@.checkpoints;
	DELETE FROM @S@.maps;
	IF NOT p_resumes THEN
		DELETE FROM @S@.events;
		DELETE FROM @S@.keys;
		UPDATE @S@.tail SET trimmed = p_gone, at_ns = p_gone_at_ns, total = 0;
	END IF;
	PERFORM @S@.meta_write(p_settings, p_max_event_size);
	DELETE FROM @S@.import;
	INSERT INTO @S@.import VALUES (true, p_mark[1], p_mark[2], p_mark[3], p_mark[4]);
	RETURN NULL;
END
$$;

-- Behind import_lock: move the mark, or remove it. False: it is neither of the two, so another process imports, too. NULL: there is none.
CREATE FUNCTION @S@.import_step(p_before bigint[], p_mark bigint[], p_ends bool) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_there bigint[];
BEGIN
	SELECT ARRAY[i.first_sum, i.records, i.bytes, i.sum] INTO v_there FROM @S@.import i;
	IF v_there IS NULL OR v_there NOT IN (p_before, p_mark) THEN
		RETURN v_there IN (p_before, p_mark);
	END IF;
	IF p_ends THEN
		DELETE FROM @S@.import;
		PERFORM pg_notify(@CHANNEL@, 's');
	ELSE
		UPDATE @S@.import SET records = p_mark[2], bytes = p_mark[3], sum = p_mark[4];
	END IF;
	PERFORM pg_notify(@CHANNEL@, 'tlw*#' || b.latest) FROM @S@.bounds() b;
	RETURN true;
END
$$;

-- Events from number p_first on. Those that are there were stored by a commit whose answer was lost.
CREATE FUNCTION @S@.import_events(p_first bigint, p_at_ns bigint[], p_types bytea[], p_ops bytea[], p_bytes bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	v_last bigint;
	v_total bigint;
BEGIN
	SELECT e.seq, e.total INTO v_last, v_total FROM @S@.events e ORDER BY e.seq DESC LIMIT 1;
	IF NOT FOUND THEN
		SELECT t.trimmed, t.total INTO v_last, v_total FROM @S@.tail t;
	END IF;
	INSERT INTO @S@.events (seq, at_ns, total, type, op, bytes)
		SELECT p_first + u.ord - 1, u.at_ns, v_total + sum(octet_length(u.bytes)) OVER (ORDER BY u.ord), u.type, u.op, u.bytes
		FROM unnest(p_at_ns, p_types, p_ops, p_bytes) WITH ORDINALITY AS u(at_ns, type, op, bytes, ord)
		WHERE p_first + u.ord - 1 > v_last;
END
$$;

CREATE FUNCTION @S@.import_keys(p_keys bytea[], p_first bigint[], p_last bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO @S@.keys SELECT * FROM unnest(p_keys, p_first, p_last) ON CONFLICT DO NOTHING
$$;

-- p_holds: 0 a checkpoint, 1 a hold.
CREATE FUNCTION @S@.import_watchers(p_ids bytea[], p_seqs bigint[], p_holds bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO @S@.checkpoints SELECT u.id, u.seq, u.hold = 1, @S@.wall_ns() FROM unnest(p_ids, p_seqs, p_holds) AS u(id, seq, hold)
		ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hold = excluded.hold, touched_at_ns = excluded.touched_at_ns
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @S@ FROM PUBLIC;
