# shellcheck shell=bash
# lib_history.sh - what is emptied is gone, and the judge must see it all the same: everything that is ever
# written is copied, `history` has each event and `history_sent` each mark, by triggers. Sourced after
# lib_faults.sh.

history_keep() {
    # shellcheck disable=SC2034 # for lib_faults.sh: marks come and go, and yet it can be seen that more are made
    sent='select count(*) from public.history_sent'
    sql "create table public.history (like outbox.event);
        create table public.history_sent (like outbox.sent);
        create unique index on public.history (id);
        create unique index on public.history_sent (id);
        create function public.copy() returns trigger language plpgsql security definer as \$\$
        begin
            if tg_argv[0] = 'event' then
                insert into public.history select new.* on conflict do nothing;
            else
                insert into public.history_sent select new.* on conflict do nothing;
            end if;
            return null;
        end \$\$;
        create trigger copy after insert on outbox.event for each row execute function public.copy('event');
        create trigger copy after insert on outbox.sent for each row execute function public.copy('sent');"
}
history_anew() { sql "truncate public.history, public.history_sent"; }
# put_back: in their places again, for the judge. No relay may be at work: it would empty them anew.
put_back() {
    sql "insert into outbox.event overriding system value
             select h.* from public.history h where not exists (select from outbox.event e where e.id = h.id);
         insert into outbox.sent select h.* from public.history_sent h
             where not exists (select from outbox.sent s where s.id = h.id)"
}

in_ring="select coalesce(sum(pg_total_relation_size(inhrelid)), 0) from pg_inherits
         where inhparent in ('outbox.event'::regclass, 'outbox.sent'::regclass)"
# shellcheck disable=SC2034 # for the tests
ring_is_empty="select count(*) from outbox.event"

# Eight buckets in so many milliseconds. A pure expression of now(), as set_bucket_period makes them, whose
# shortest period is a second.
ring_of() {
    sql "alter table only outbox.event alter column bucket set default
             (floor(date_part('epoch', now()) * 8000 / $1)::bigint & 7)::smallint"
}
