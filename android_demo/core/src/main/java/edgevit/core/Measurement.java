package edgevit.core;

import java.util.ArrayList;
import java.util.List;

/** What the screen shows of a measured model. */
public final class Measurement {
    private static final int POINTS = 60;

    /** The model's file name without its ending. */
    public final String name;
    public final double[] samplesUs;
    /** Lines of pairs: seconds since the measurement began, and the median latency of that stretch in microseconds; one for each turn. */
    public final List<List<double[]>> curves = new ArrayList<>();

    /** @param beganNanos when the measurement of all models began, by the benchmark's clock */
    public Measurement(String fileName, List<Benchmark.Result> turns, long beganNanos) {
        name = fileName.contains(".") ? fileName.substring(0, fileName.lastIndexOf('.')) : fileName;
        samplesUs = Turns.joined(turns);
        for (Benchmark.Result turn : turns) {
            if (turn.samplesUs.length > 0) {
                double offset = (turn.atNanos[0] - beganNanos) / 1e9;
                List<double[]> line = LatencyStats.curve(turn.samplesUs, Math.max(2, POINTS / turns.size()));
                for (double[] point : line) {
                    point[0] += offset;
                }
                curves.add(line);
            }
        }
    }
}
