package edgevit.demo;

import android.content.Context;
import edgevit.core.Benchmark;
import edgevit.core.BenchmarkRecord;
import edgevit.core.Engine;
import edgevit.core.Json;
import edgevit.core.Measurement;
import edgevit.core.ModelException;
import edgevit.core.RunGuard;
import edgevit.core.RuntimeFactory;
import edgevit.core.Turns;
import edgevit.core.UiState;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** One measurement with all that its record says, the same from the screen, over adb and in a test on a farm of phones. */
final class BenchRun {
    private static final long LOOK_NANOS = 1_000_000_000L;

    private final Context context;
    private final RuntimeFactory runtime;
    private final RunGuard guard;
    private final List<double[]> temperatures = new ArrayList<>();
    private final long began = System.nanoTime();
    private long looked;
    private List<List<Benchmark.Result>> turns;
    private final List<BenchmarkRecord> records = new ArrayList<>();

    private BenchRun(Context context, RuntimeFactory runtime, RunGuard guard) {
        this.context = context;
        this.runtime = runtime;
        this.guard = guard;
    }

    /**
     * Measure one model, or two in turns, while the guard allows it.
     *
     * @param engines both in the same runtime
     * @param settings of the whole measurement of one model
     * @throws ModelException if an inference fails
     */
    static BenchRun measure(
            Context context, List<Engine> engines, Benchmark.Settings settings, RuntimeFactory runtime, RunGuard guard,
            Turns.Progress progress) throws ModelException {
        BenchRun run = new BenchRun(context, runtime, guard);
        run.measure(engines, settings, progress);
        return run;
    }

    private void measure(List<Engine> engines, Benchmark.Settings settings, final Turns.Progress progress) throws ModelException {
        int each = engines.size() == 1 ? 1 : Turns.OF_TWO;
        Benchmark.Settings ofTurn = settings.turn(each);
        List<Benchmark> benchmarks = new ArrayList<>();
        for (Engine engine : engines) {
            benchmarks.add(engine.benchmark(System::nanoTime));
        }
        BenchmarkRecord.State before = DeviceFacts.state(context, guard);
        turns = Turns.run(benchmarks, ofTurn, each, (turn, all, isWarmup, done) -> {
            look();
            return progress.on(turn, all, isWarmup, done) && guard.reason() == null;
        });
        BenchmarkRecord.State after = DeviceFacts.state(context, guard);
        for (int i = 0; i < engines.size(); i++) {
            BenchmarkRecord record = new BenchmarkRecord(engines.get(i).manifest, ofTurn, turns.get(i), each);
            record.before = before.toMap();
            record.after = after.toMap();
            record.temperatures = temperatures;
            record.ratio = i == 0 ? null : Turns.ratio(turns.get(i), turns.get(0));
            record.stoppedBecause = guard.reason();
            record.loadUs = engines.get(i).loadUs;
            record.runner = runtime.name();
            record.runnerVersion = runtime.version();
            record.accelerator = engines.get(i).accelerator();
            record.acceleratorAsked = runtime.accelerator();
            DeviceFacts.describe(record);
            records.add(record);
        }
    }

    /** Read the battery's temperature between two inferences, once a second: reading it would else be part of what is measured. */
    private void look() {
        long now = System.nanoTime();
        if (looked != 0 && now - looked < LOOK_NANOS) {
            return;
        }
        looked = now;
        Double celsius = DeviceFacts.batteryC(context);
        if (celsius != null) {
            temperatures.add(new double[] {(now - began) / 1e9, celsius});
        }
    }

    /** Return one record, or of two models a list of two. */
    String toJson() {
        if (records.size() == 1) {
            return records.get(0).toJson();
        }
        List<Object> all = new ArrayList<>();
        for (BenchmarkRecord record : records) {
            all.add(Json.parse(record.toJson()));
        }
        return Json.write(all);
    }

    /** Return what the screen shows; no models where the run ended before any of them gave a sample. */
    UiState.Measured toState() {
        List<Measurement> models = new ArrayList<>();
        List<String> marks = new ArrayList<>();
        for (int i = 0; i < records.size(); i++) {
            if (records.get(i).samplesUs().length > 0) {
                models.add(new Measurement(records.get(i).model(), turns.get(i), began));
            }
            for (String mark : records.get(i).marks()) {
                if (!marks.contains(mark)) {
                    marks.add(mark);
                }
            }
        }
        boolean isWhole = models.size() == records.size();
        double[] ratio = records.get(records.size() - 1).ratio;
        return new UiState.Measured(
                isWhole ? models : Collections.<Measurement>emptyList(), ratio, temperatures, marks, toJson());
    }
}
