package edgevit.demo;

import android.content.Context;
import edgevit.core.ModelFiles;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.TreeSet;

/**
 * The models for one runtime that the app can see: those built into its assets, and those that adb pushed into its external folder
 * ({@code /sdcard/Android/data/<app>/files/models}). A pushed model hides a built-in one of the same name.
 */
final class ModelCatalog implements ModelFiles.Source {
    static final String FOLDER = "models";

    private final Context context;
    private final String target;

    ModelCatalog(Context context, String target) {
        this.context = context;
        this.target = target;
    }

    /** Return the ending of model files for a target, as the manifest names it. */
    static String ending(String target) {
        return target.equals("executorch") ? ".pte" : ".tflite";
    }

    /** Return the file names of the models, with a manifest or without: a missing one is told when the model is chosen. */
    String[] names() {
        TreeSet<String> found = new TreeSet<>();
        try {
            add(found, context.getAssets().list(FOLDER));
        } catch (IOException e) {
            throw new AssertionError(e); // Assets are part of the app; listing them does not fail.
        }
        File pushed = pushedFolder();
        add(found, pushed == null ? null : pushed.list());
        return found.toArray(new String[0]);
    }

    @Override
    public InputStream open(String name) throws IOException {
        File pushed = pushedFolder();
        if (pushed != null && new File(pushed, name).isFile()) {
            return new FileInputStream(new File(pushed, name));
        }
        return context.getAssets().open(FOLDER + "/" + name);
    }

    /** Return where the runtimes' copies are kept. */
    File copies() {
        return new File(context.getFilesDir(), FOLDER);
    }

    /** Return the external folder, null while there is no external storage. */
    private File pushedFolder() {
        return context.getExternalFilesDir(FOLDER);
    }

    private void add(TreeSet<String> found, String[] names) {
        for (String name : names == null ? new String[0] : names) {
            if (name.endsWith(ending(target))) {
                found.add(name);
            }
        }
    }
}
