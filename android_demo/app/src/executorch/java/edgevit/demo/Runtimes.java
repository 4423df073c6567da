package edgevit.demo;

import android.content.Context;
import edgevit.core.RuntimeFactory;
import java.util.Collections;
import java.util.List;

/** The runtime of this flavour. */
final class Runtimes {
    private Runtimes() {}

    static List<RuntimeFactory> all(Context context) {
        return Collections.<RuntimeFactory>singletonList(new ExecuTorchRuntimeFactory());
    }
}
