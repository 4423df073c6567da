package edgevit.demo;

import android.content.Context;
import android.util.Log;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Benchmark records as files in the app's external folder bench/, where adb can pull them. */
final class Records {
    static final String FOLDER = "bench";
    private static final String TAG = "EdgeVitBench";

    private Records() {}

    /** Write a record under another name first: who waits for it must not read half of it. Return the file, null if it failed. */
    static File write(Context context, String name, String json) {
        File folder = context.getExternalFilesDir(FOLDER);
        File part = new File(folder, name + ".part");
        try (FileOutputStream out = new FileOutputStream(part)) {
            out.write(json.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            Log.e(TAG, "cannot write " + part + ": " + e.getMessage());
            return null;
        }
        File whole = new File(folder, name);
        boolean isDone = part.renameTo(whole);
        Log.i(TAG, (isDone ? "wrote " : "cannot rename ") + whole); // Its name alone: a log line holds 4 KB, a record more.
        return isDone ? whole : null;
    }
}
