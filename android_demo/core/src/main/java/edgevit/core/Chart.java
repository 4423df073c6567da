package edgevit.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * A small chart as marks that need no measuring: a view of any size draws them one after the other.
 *
 * <p>Each place is four numbers: a share of the width and an offset in letter heights, then the same for the height. So one list of
 * marks serves every screen and font size, and what is drawn can be tested without a screen.
 */
public final class Chart {
    /** Colours, by what they stand for. */
    public enum Ink { TEXT, QUIET, TRACK, FIRST, SECOND, HEAT }

    /** How a mark is drawn. */
    public enum Kind { AREA, LINE, DASHED, TEXT }

    /** One mark: a filled outline, a line, or a text that begins, is centred or ends at its place. */
    public static final class Mark {
        public final Kind kind;
        public final Ink ink;
        /** Four numbers a place. */
        public final double[] places;
        /** Null where nothing is written. */
        public final Text text;
        /** 0: the text begins there, 1: its middle, 2: it ends there. Its baseline lies at the place. */
        public final int anchor;

        Mark(Kind kind, Ink ink, double[] places, Text text, int anchor) {
            this.kind = kind;
            this.ink = ink;
            this.places = places;
            this.text = text;
            this.anchor = anchor;
        }
    }

    private static final int BINS = 40;
    /** The slowest would flatten the rest. */
    private static final double SHOWN_PERCENT = 99.5;
    /** Of texts below each other, in letter heights. */
    private static final double LINE = 1.5;
    private static final Ink[] STAGES = {Ink.SECOND, Ink.QUIET, Ink.FIRST};
    private static final Ink[] SERIES = {Ink.FIRST, Ink.SECOND};

    /** In letter heights. */
    public final double height;
    /** What a screen reader says. */
    public final Text description;
    public final List<Mark> marks = new ArrayList<>();

    private Chart(double height, Text description) {
        this.height = height;
        this.description = description;
    }

    /** A rectangle to draw in: margins in letter heights, and a share of the height. */
    private static final class Frame {
        private final double left;
        private final double right;
        private final double top;
        private final double bottom;
        private final double from;
        private final double to;

        Frame(double left, double top, double right, double bottom, double from, double to) {
            this.left = left;
            this.top = top;
            this.right = right;
            this.bottom = bottom;
            this.from = from;
            this.to = to;
        }

        /** Return the place of a point, both 0 to 1, y upwards; raised by so many letter heights. */
        double[] at(double x, double y, double raised) {
            double down = 1 - y;
            return new double[] {
                x, left - x * (left + right), from + down * (to - from), top - down * (top + bottom) - raised
            };
        }
    }

    /**
     * Return where the time of a frame goes: one bar in parts, and a line of text for each.
     *
     * @param names what to say of each part, {@code us} how long it took
     */
    public static Chart stages(List<Text> names, double[] us) {
        Chart chart = new Chart(1.6 + LINE * names.size(), Text.of(Say.RAW, names));
        double total = 0;
        for (double one : us) {
            total += one;
        }
        double begin = 0;
        for (int i = 0; i < us.length; i++) {
            double end = total > 0 ? begin + us[i] / total : 0;
            chart.area(STAGES[i], begin, 0, end, 0, 0.2, 1);
            double top = 1.6 + LINE * i;
            chart.area(STAGES[i], 0, 0, 0, 0.8, top + 0.3, 0.8);
            chart.write(Ink.TEXT, new double[] {0, 1.3, 0, top + 1.05}, names.get(i), 0);
            begin = end;
        }
        return chart;
    }

    /** Fill a rectangle: from and to a share of the width and an offset, then its top and height in letter heights. */
    private void area(Ink ink, double left, double leftEm, double right, double rightEm, double top, double high) {
        List<double[]> corners = new ArrayList<>();
        corners.add(new double[] {left, leftEm, 0, top});
        corners.add(new double[] {right, rightEm, 0, top});
        corners.add(new double[] {right, rightEm, 0, top + high});
        corners.add(new double[] {left, leftEm, 0, top + high});
        add(Kind.AREA, ink, corners);
    }

    /** Return frames a second over the last frames; null while there are none to tell. */
    public static Chart frames(double[] rates) {
        if (rates.length < 2) {
            return null;
        }
        double top = 0;
        for (double rate : rates) {
            top = Math.max(top, rate);
        }
        top = roundedUp(top);
        Text now = Text.of(Say.FRAMES, rates[rates.length - 1]);
        Chart chart = new Chart(6.5, now);
        Frame frame = new Frame(0, 1.9, 2.6, 0.3, 0, 1);
        chart.write(Ink.TEXT, new double[] {0, 0, 0, 1.1}, now, 0);
        chart.rule(Ink.TRACK, frame.at(0, 0, 0), frame.at(1, 0, 0));
        chart.rule(Ink.TRACK, frame.at(0, 1, 0), frame.at(1, 1, 0));
        chart.write(Ink.QUIET, shifted(frame.at(1, 1, 0), 0.4, 0.35), Text.of(Say.NUMBER, top), 0);
        chart.write(Ink.QUIET, shifted(frame.at(1, 0, 0), 0.4, 0.1), Text.of(Say.NUMBER, 0.0), 0);
        List<double[]> points = new ArrayList<>();
        for (int i = 0; i < rates.length; i++) {
            points.add(frame.at((double) i / (rates.length - 1), rates[i] / top, 0));
        }
        chart.add(Kind.LINE, Ink.FIRST, points);
        return chart;
    }

    /** Return how often each latency came, one panel a model over a common axis, with the quantiles. */
    public static Chart histogram(List<Measurement> models) {
        double low = Double.POSITIVE_INFINITY;
        double high = 0;
        for (Measurement model : models) {
            low = Math.min(low, LatencyStats.quantile(model.samplesUs, 0));
            high = Math.max(high, LatencyStats.quantile(model.samplesUs, SHOWN_PERCENT));
        }
        high = high > low ? high : low + 1;
        boolean isAlone = models.size() == 1;
        Chart chart = new Chart(isAlone ? 14 : 17, Text.of(Say.LATENCIES));
        chart.write(Ink.TEXT, new double[] {0, 0, 0, 1.1}, Text.of(Say.LATENCIES), 0);
        double each = 1.0 / models.size();
        Frame last = null;
        for (int i = 0; i < models.size(); i++) {
            boolean isLast = i == models.size() - 1;
            double above = (isAlone ? 3.2 : 1.4) + (i == 0 ? 1.8 : 0);
            last = new Frame(0, above, 0, isLast ? 1.6 : 0.2, i * each, (i + 1) * each);
            chart.bars(models.get(i).samplesUs, low, high, last, SERIES[i]);
            chart.quantiles(models.get(i).samplesUs, low, high, last, isAlone);
        }
        chart.write(Ink.QUIET, shifted(last.at(0, 0, 0), 0, 1.3), Text.of(Say.MILLISECONDS, low / 1000), 0);
        chart.write(Ink.QUIET, shifted(last.at(1, 0, 0), 0, 1.3), Text.of(Say.MILLISECONDS, high / 1000), 2);
        return chart;
    }

    private void bars(double[] samplesUs, double low, double high, Frame frame, Ink ink) {
        int[] counts = new int[BINS];
        int most = 1;
        for (double us : samplesUs) {
            if (us <= high) {
                int bin = (int) Math.min(BINS - 1, (us - low) / (high - low) * BINS);
                most = Math.max(most, ++counts[bin]);
            }
        }
        List<double[]> outline = new ArrayList<>();
        outline.add(frame.at(0, 0, 0));
        for (int i = 0; i < BINS; i++) {
            double share = (double) counts[i] / most;
            outline.add(frame.at((double) i / BINS, share, 0));
            outline.add(frame.at((i + 1.0) / BINS, share, 0));
        }
        outline.add(frame.at(1, 0, 0));
        add(Kind.AREA, ink, outline);
        rule(Ink.QUIET, frame.at(0, 0, 0), frame.at(1, 0, 0));
    }

    /** Draw the quantiles, each label in a line of its own, so that near ones do not cover each other; of several models p50 alone. */
    private void quantiles(double[] samplesUs, double low, double high, Frame frame, boolean isAll) {
        int[] percents = isAll ? new int[] {50, 90, 99} : new int[] {50};
        for (int i = 0; i < percents.length; i++) {
            double x = (LatencyStats.quantile(samplesUs, percents[i]) - low) / (high - low);
            double raised = 0.2 + 1.05 * i;
            double[] top = frame.at(Math.min(1, x), 1, raised);
            add(Kind.DASHED, Ink.TEXT, Arrays.asList(frame.at(Math.min(1, x), 0, 0), top));
            boolean isFar = x > 0.8;
            write(Ink.TEXT, shifted(top, isFar ? -0.3 : 0.3, 0.1), Text.raw("p" + percents[i]), isFar ? 2 : 0);
        }
    }

    /**
     * Return latency over time from 0 up, and the temperature on an axis of its own.
     *
     * @param temperatures pairs of seconds and degrees Celsius; fewer than two are not drawn
     */
    public static Chart overTime(List<Measurement> models, List<double[]> temperatures) {
        double end = 0;
        double top = 0;
        for (Measurement model : models) {
            for (List<double[]> line : model.curves) {
                for (double[] point : line) {
                    end = Math.max(end, point[0]);
                    top = Math.max(top, point[1]);
                }
            }
        }
        boolean hasHeat = temperatures.size() > 1;
        top = 1000 * roundedUp(top / 1000 * 1.02);
        end = hasHeat ? Math.max(end, temperatures.get(temperatures.size() - 1)[0]) : end;
        end = end > 0 ? end : 1;
        Chart chart = new Chart(11, Text.of(Say.OVER_TIME));
        Frame frame = new Frame(0, 3, hasHeat ? 3.9 : 0, 1.6, 0, 1);
        chart.write(Ink.TEXT, new double[] {0, 0, 0, 1.1}, Text.of(Say.OVER_TIME), 0);
        for (double share : new double[] {0.5, 1}) {
            chart.rule(Ink.TRACK, frame.at(0, share, 0), frame.at(1, share, 0));
        }
        chart.rule(Ink.QUIET, frame.at(0, 0, 0), frame.at(1, 0, 0));
        chart.write(Ink.QUIET, shifted(frame.at(0, 1, 0), 0, -0.25), Text.of(Say.MILLISECONDS, top / 1000), 0);
        chart.write(Ink.QUIET, shifted(frame.at(0, 0, 0), 0, 1.3), Text.of(Say.SECONDS, 0.0), 0);
        chart.write(Ink.QUIET, shifted(frame.at(1, 0, 0), 0, 1.3), Text.of(Say.SECONDS, end), 2);
        if (hasHeat) {
            chart.heat(temperatures, end, frame);
        }
        for (int i = 0; i < models.size(); i++) {
            for (List<double[]> line : models.get(i).curves) {
                List<double[]> points = new ArrayList<>();
                for (double[] point : line) {
                    points.add(frame.at(point[0] / end, point[1] / top, 0));
                }
                chart.add(Kind.LINE, SERIES[i], points);
            }
        }
        return chart;
    }

    private void heat(List<double[]> temperatures, double end, Frame frame) {
        double low = Double.POSITIVE_INFINITY;
        double high = Double.NEGATIVE_INFINITY;
        for (double[] point : temperatures) {
            low = Math.min(low, Math.floor(point[1]));
            high = Math.max(high, Math.ceil(point[1]));
        }
        high = Math.max(high, low + 2); // A tenth of a degree is no mountain.
        List<double[]> points = new ArrayList<>();
        for (double[] point : temperatures) {
            points.add(frame.at(point[0] / end, (point[1] - low) / (high - low), 0));
        }
        add(Kind.DASHED, Ink.HEAT, points);
        write(Ink.HEAT, shifted(frame.at(1, 1, 0), 3.9, -0.25), Text.of(Say.BATTERY), 2);
        write(Ink.HEAT, shifted(frame.at(1, 1, 0), 0.4, 0.9), Text.of(Say.CELSIUS, high), 0);
        write(Ink.HEAT, shifted(frame.at(1, 0, 0), 0.4, 0), Text.of(Say.CELSIUS, low), 0);
    }

    /** Return the next number that is easy to read: one digit and noughts. */
    static double roundedUp(double value) {
        double power = Math.pow(10, Math.floor(Math.log10(Math.max(value, 1e-3))));
        for (double step : new double[] {1, 2, 3, 4, 5, 6, 8}) {
            if (value <= step * power) {
                return step * power;
            }
        }
        return 10 * power;
    }

    private static double[] shifted(double[] place, double right, double down) {
        return new double[] {place[0], place[1] + right, place[2], place[3] + down};
    }

    private void rule(Ink ink, double[] from, double[] to) {
        add(Kind.LINE, ink, Arrays.asList(from, to));
    }

    private void add(Kind kind, Ink ink, List<double[]> points) {
        double[] places = new double[4 * points.size()];
        for (int i = 0; i < points.size(); i++) {
            System.arraycopy(points.get(i), 0, places, 4 * i, 4);
        }
        marks.add(new Mark(kind, ink, places, null, 0));
    }

    private void write(Ink ink, double[] place, Text text, int anchor) {
        marks.add(new Mark(Kind.TEXT, ink, place, text, anchor));
    }

    /** Return everything as plain values, for the drawn screens. */
    Map<String, Object> toMap() {
        List<Object> drawn = new ArrayList<>();
        for (Mark mark : marks) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("kind", mark.kind.name().toLowerCase(Locale.ROOT));
            one.put("ink", mark.ink.name().toLowerCase(Locale.ROOT));
            List<Object> places = new ArrayList<>();
            for (double place : mark.places) {
                places.add(place);
            }
            one.put("places", places);
            one.put("text", mark.text == null ? null : mark.text.toMap());
            one.put("anchor", (long) mark.anchor);
            drawn.add(one);
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("height", height);
        all.put("description", description.toMap());
        all.put("marks", drawn);
        return all;
    }
}
