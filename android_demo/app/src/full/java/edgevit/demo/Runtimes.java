package edgevit.demo;

import edgevit.core.RuntimeFactory;
import java.util.Arrays;
import java.util.List;

/** Both runtimes. */
final class Runtimes {
    private Runtimes() {}

    static List<RuntimeFactory> all() {
        return Arrays.<RuntimeFactory>asList(new LiteRtRuntimeFactory(), new ExecuTorchRuntimeFactory());
    }
}
