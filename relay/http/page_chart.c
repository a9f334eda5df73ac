/* page_chart.c - a small chart as SVG. See pages.h. */
#include <math.h>

#include "relay/http/pages.h"

#define WIDTH 300.0
#define HEIGHT 60.0

/* "12.3k", and of seconds "250 ms". */
static void put_short(FILE *out, double v, const char *unit)
{
    if (unit[0] == 's' && v < 1)
        fprintf(out, v < 0.00995 ? "%.1f ms" : "%.0f ms", v * 1e3);
    else if (v >= 1e6)
        fprintf(out, "%.1fM", v / 1e6);
    else if (v >= 1e4)
        fprintf(out, "%.1fk", v / 1e3);
    else
        fprintf(out, v < 9.95 && v != floor(v) ? "%.1f" : "%.0f", v);
    if (unit[0] != '\0' && (unit[0] != 's' || v >= 1))
        fprintf(out, "%s%s", unit[0] == '/' ? "" : " ", unit);
}

/* A round number above the largest value, so that the scale stays put while that changes little. */
static double scale_of(const float *values, uint32_t n)
{
    double most = 0, step;

    for (uint32_t i = 0; i < n; i++)
        most = values[i] > most ? (double)values[i] : most;
    if (most <= 0)
        return 1;
    step = pow(10, floor(log10(most)));
    return most <= step ? step : most <= 2 * step ? 2 * step : most <= 5 * step ? 5 * step : 10 * step;
}

static double x_of(uint32_t i, uint32_t n)
{
    return WIDTH * (double)(STATUS_SAMPLES - n + i) / (STATUS_SAMPLES - 1);
}

static double y_of(double v, double scale)
{
    return HEIGHT - (HEIGHT - 2) * v / scale - 1;
}

/* One run of known values, as an area and a line. */
static void put_run(FILE *out, const float *values, uint32_t from, uint32_t to, uint32_t n, double scale)
{
    fprintf(out, "<path class=\"a\" d=\"M%.1f %.0f", x_of(from, n), HEIGHT);
    for (uint32_t i = from; i < to; i++)
        fprintf(out, "L%.1f %.1f", x_of(i, n), y_of((double)values[i], scale));
    fprintf(out, "L%.1f %.0fZ\"/><path class=\"l\" d=\"M%.1f %.1f", x_of(to - 1, n), HEIGHT, x_of(from, n),
            y_of((double)values[from], scale));
    for (uint32_t i = from; i < to; i++) /* a single value is a dot */
        fprintf(out, "L%.1f %.1f", x_of(i, n) + (to - from == 1 ? 1.0 : 0.0), y_of((double)values[i], scale));
    fputs("\"/>", out);
}

void page_chart(FILE *out, const char *title, const char *unit, const float *values, uint32_t n)
{
    double scale = scale_of(values, n);

    fprintf(out, "<figure class=\"card\"><figcaption><span>%s</span><span>&le; ", title);
    put_short(out, scale, unit);
    fprintf(out,
            "</span></figcaption><svg viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"%s, the last 15 minutes\"><path class=\"g\" d=\"M0 .5H300M0 30H300M0 59.5H300\"/>",
            WIDTH, HEIGHT, title);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = i;
        while (i < n && values[i] >= 0)
            i++;
        if (i > from)
            put_run(out, values, from, i, n, scale);
    }
    fputs("</svg><div class=\"axis\"><span>15 min ago</span><span>now</span></div></figure>", out);
}
