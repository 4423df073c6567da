package edgevit.core;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Find, check and copy models, wherever they come from: the app's assets or a folder. */
public final class ModelFiles {
    /** Where models lie; names are without a folder. */
    public interface Source {
        /** @throws FileNotFoundException if there is no such file */
        InputStream open(String name) throws IOException;
    }

    /** Where files lie that were compiled for one chip. */
    private static final String COMPILED = "npu/";
    private static final int MAX_MANIFEST_BYTES = 16 << 20;
    /** Of a model whose own metadata is read: it lies in memory for that. */
    private static final int MAX_MODEL_BYTES = 128 << 20;

    private ModelFiles() {}

    /** Return a source of the files of a folder. */
    public static Source folder(final File folder) {
        return new Source() {
            @Override
            public InputStream open(String name) throws IOException {
                return new FileInputStream(new File(folder, name));
            }
        };
    }

    /** Return the name of the manifest of a model: its whole name with .json. */
    public static String manifestName(String model) {
        return model + ".json";
    }

    /**
     * Read the manifest of a model.
     *
     * @throws ModelException if it is missing or not valid; the message names the file
     */
    public static Manifest readManifest(Source source, String model) throws ModelException {
        String name = manifestName(model);
        String text;
        try (InputStream in = source.open(name)) {
            text = new String(readAll(in, name, MAX_MANIFEST_BYTES), StandardCharsets.UTF_8);
        } catch (FileNotFoundException e) {
            Manifest own = ownMetadata(source, model);
            if (own != null) {
                return own;
            }
            String hint = "convert again, or keep the two together";
            throw new ModelException(model + ": its manifest " + name + " is missing; " + hint, e);
        } catch (IOException e) {
            throw new ModelException(name + ": cannot be read (" + e.getMessage() + ")", e);
        }
        Manifest manifest;
        try {
            manifest = Manifest.parse(text);
        } catch (ModelException e) {
            throw new ModelException(name + ": " + e.getMessage(), e);
        }
        if (!manifest.fileName.equals(model)) {
            throw new ModelException(name + ": describes " + manifest.fileName + ", not " + model);
        }
        return manifest;
    }

    /** Return what a model says of itself, null for a file that says nothing or is not there. */
    private static Manifest ownMetadata(Source source, String model) throws ModelException {
        try (InputStream in = source.open(model)) {
            byte[] file = readAll(in, model, MAX_MODEL_BYTES);
            return OwnMetadata.read(file, model, sha256(new ByteArrayInputStream(file), null));
        } catch (IOException e) {
            return null; // That the manifest is missing is the better message.
        }
    }

    /**
     * Return the model as a file in {@code folder}, copied on the first call and checked against the manifest on each.
     *
     * @throws ModelException if the model is missing, or is not the file that the manifest describes
     */
    public static File install(Source source, Manifest manifest, File folder) throws ModelException {
        return install(source, "", manifest.fileName, manifest.fileBytes, manifest.fileSha256, folder);
    }

    /**
     * The same for a file that was compiled for one chip; these lie in a folder of their own, because no manifest is beside them.
     *
     * @throws ModelException as above
     */
    public static File install(Source source, Manifest.Compiled file, File folder) throws ModelException {
        return install(source, COMPILED, file.fileName, file.fileBytes, file.fileSha256, folder);
    }

    private static File install(Source source, String from, String name, long bytes, String sha256, File folder)
            throws ModelException {
        File target = new File(folder, sha256.substring(0, 16) + "-" + name);
        try {
            if (target.length() == bytes && sha256(new FileInputStream(target), null).equals(sha256)) {
                return target;
            }
            if (!folder.isDirectory() && !folder.mkdirs()) {
                throw new IOException("cannot make folder " + folder);
            }
            File part = new File(folder, target.getName() + ".part");
            String actual;
            try (InputStream in = source.open(from + name);
                    FileOutputStream out = new FileOutputStream(part)) {
                actual = sha256(in, out);
            }
            if (!actual.equals(sha256)) {
                part.delete();
                throw damaged(name);
            }
            if (!part.renameTo(target)) {
                throw new IOException("cannot rename " + part);
            }
            return target;
        } catch (FileNotFoundException e) {
            throw new ModelException(name + ": the model is missing; only its manifest is here", e);
        } catch (IOException e) {
            throw new ModelException(name + ": cannot be copied (" + e.getMessage() + ")", e);
        }
    }

    private static ModelException damaged(String name) {
        return new ModelException(
                name + ": not the file that its manifest describes (sha256 differs); convert again");
    }

    private static String sha256(InputStream source, FileOutputStream copy) throws IOException {
        MessageDigest digest;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError(e); // Every Java and every Android has it.
        }
        byte[] block = new byte[1 << 16];
        try (InputStream in = source) {
            for (int got = in.read(block); got >= 0; got = in.read(block)) {
                digest.update(block, 0, got);
                if (copy != null) {
                    copy.write(block, 0, got);
                }
            }
        }
        StringBuilder text = new StringBuilder();
        for (byte value : digest.digest()) {
            text.append(String.format("%02x", value));
        }
        return text.toString();
    }

    private static byte[] readAll(InputStream in, String name, int most) throws IOException {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        byte[] block = new byte[1 << 14];
        for (int got = in.read(block); got >= 0; got = in.read(block)) {
            all.write(block, 0, got);
            if (all.size() > most) {
                throw new IOException(name + " is over " + (most >> 20) + " MiB");
            }
        }
        return all.toByteArray();
    }
}
