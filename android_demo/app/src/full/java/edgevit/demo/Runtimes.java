package edgevit.demo;

import android.content.Context;
import edgevit.core.RuntimeFactory;
import java.util.ArrayList;
import java.util.List;

/** Both runtimes, LiteRT once for each accelerator. */
final class Runtimes {
    private Runtimes() {}

    static List<RuntimeFactory> all(Context context) {
        List<RuntimeFactory> found = new ArrayList<>();
        for (String accelerator : new String[] {"CPU", "GPU", "NPU"}) {
            found.add(new LiteRtRuntimeFactory(context, accelerator));
        }
        found.add(new ExecuTorchRuntimeFactory());
        return found;
    }
}
