/* statistics.h - librdkafka's statistics: of a long JSON text the few figures that are worth a metric. */
#ifndef RELAY_SINK_STATISTICS_H
#define RELAY_SINK_STATISTICS_H

#include "relay/sink/sink.h"

/* 0, or -1: it is no such text, or so long (thousands of partitions) that reading it would hold up the loop. */
int statistics_read(const char *json, struct sink_statistics *ret_statistics);

#endif
