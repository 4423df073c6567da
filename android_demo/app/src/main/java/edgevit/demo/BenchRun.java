package edgevit.demo;

import android.content.Context;
import edgevit.core.Benchmark;
import edgevit.core.BenchmarkRecord;
import edgevit.core.Engine;
import edgevit.core.ModelException;
import edgevit.core.RunGuard;
import edgevit.core.RuntimeFactory;

/** One measurement with all that its record says, the same from the screen, over adb and in a test on a farm of phones. */
final class BenchRun {
    private BenchRun() {}

    /**
     * Measure while the guard allows it.
     *
     * @throws ModelException if an inference fails
     */
    static BenchmarkRecord measure(
            Context context, Engine engine, Benchmark.Settings settings, RuntimeFactory runtime, final RunGuard guard,
            final Benchmark.Progress progress) throws ModelException {
        BenchmarkRecord.State before = DeviceFacts.state(context, guard);
        Benchmark.Result result = engine.benchmark(System::nanoTime)
                .run(settings, (isWarmup, done) -> progress.on(isWarmup, done) && guard.reason() == null);
        BenchmarkRecord record = new BenchmarkRecord(engine.manifest, settings, result);
        record.before = before.toMap();
        record.after = DeviceFacts.state(context, guard).toMap();
        record.stoppedBecause = guard.reason();
        record.loadUs = engine.loadUs;
        record.runner = runtime.name();
        record.runnerVersion = runtime.version();
        record.accelerator = engine.accelerator();
        record.acceleratorAsked = runtime.accelerator();
        DeviceFacts.describe(record);
        return record;
    }
}
