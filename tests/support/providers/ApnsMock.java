// Pushy's mock APNs server (com.eatthepath:pushy) as a process that a test drives.
//
//   java -cp <pushy and its jars> ApnsMock FOLDER
//
// FOLDER: cert.pem and key.pem (the server's TLS identity) and apns_pub.pem (public half of the team's signing key).
// Prints one line, `READY <apns port> <control port>`. The control port speaks HTTP on the loopback address:
//   POST /dead EPOCH_MS TOKEN.. 410 Unregistered with this timestamp     POST /bad TOKEN        400 BadDeviceToken
//   POST /foreign TOKEN         400 DeviceTokenNotForTopic               POST /fail REASON N    the next N are refused
//   POST /cut rst|goaway N      inside the Nth accepted push from now every connection is reset or told to go away
//   POST /reset                 forget all of it                         POST /quit
//   GET /counts                 JSON: accepted, connections, refusals by reason
//   GET /accepted               one line `apns-id collapse-id epoch-ms` for each accepted push
import com.eatthepath.pushy.apns.auth.ApnsVerificationKey;
import com.eatthepath.pushy.apns.server.*;
import com.sun.net.httpserver.HttpServer;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.handler.codec.http2.Http2Headers;
import java.io.*;
import java.math.BigInteger;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class ApnsMock {
    static final String TOPIC = "com.example.app", KEY_ID = "KEYID12345", TEAM_ID = "TEAMID1234";

    static final Set<String> bad = ConcurrentHashMap.newKeySet(), foreign = ConcurrentHashMap.newKeySet();
    static final Map<String, Instant> dead = new ConcurrentHashMap<>();
    static final Map<String, LongAdder> counts = new ConcurrentHashMap<>();
    static final Queue<String> accepted = new ConcurrentLinkedQueue<>();
    static final AtomicInteger failuresLeft = new AtomicInteger(), untilCut = new AtomicInteger();
    static volatile RejectionReason failure = RejectionReason.SERVICE_UNAVAILABLE;
    static volatile boolean cutByReset;
    static volatile ChannelGroup channels;

    public static void main(String[] arguments) throws Exception {
        File folder = new File(arguments[0]);
        MockApnsServer server = new MockApnsServerBuilder()
            .setServerCredentials(new File(folder, "cert.pem"), new File(folder, "key.pem"), null)
            .setEventLoopGroup(new NioEventLoopGroup(1))
            .setHandlerFactory(Boolean.getBoolean("accept.all")
                ? new AcceptAllPushNotificationHandlerFactory()
                : disturbed(validating(new File(folder, "apns_pub.pem"))))
            .setListener(new Notes())
            .setMaxConcurrentStreams(1000)
            .setUseAlpn(true)
            .build();
        int port = server.start(0).get();
        channels = channelsOf(server);
        System.out.println("READY " + port + " " + control());
    }

    static PushNotificationHandlerFactory validating(File publicKey) throws Exception {
        ApnsVerificationKey key = ApnsVerificationKey.loadFromPkcs8File(publicKey, TEAM_ID, KEY_ID);
        Set<String> everyTokenThatIsOurs = new AbstractSet<>() {
            @Override public boolean contains(Object token) { return !foreign.contains(token); }
            @Override public Iterator<String> iterator() { return Collections.emptyIterator(); }
            @Override public int size() { return 0; }
        };
        return new ValidatingPushNotificationHandlerFactory(
            Map.of(TOPIC, everyTokenThatIsOurs), dead, Map.of(KEY_ID, key), Map.of(key, Set.of(TOPIC)));
    }

    static PushNotificationHandlerFactory disturbed(PushNotificationHandlerFactory factory) {
        return session -> {
            PushNotificationHandler inner = factory.buildHandler(session);
            count("connections");
            return (headers, payload) -> {
                String path = headers.path().toString();
                if (bad.contains(path.substring(path.lastIndexOf('/') + 1)))
                    throw new RejectedNotificationException(RejectionReason.BAD_DEVICE_TOKEN);
                if (failuresLeft.get() > 0 && failuresLeft.getAndDecrement() > 0)
                    throw new RejectedNotificationException(failure);
                CharSequence token = headers.get("authorization");
                if (token != null) headers.set("authorization", withDerSignature(token.toString()));
                inner.handlePushNotification(headers, payload);
                // The push that trips the cut is accepted and its answer lost: nobody can know.
                if (untilCut.get() > 0 && untilCut.decrementAndGet() == 0) cut();
            };
        };
    }

    /** Pushy verifies ASN.1 signatures; those of JSON web tokens are r and s side by side (RFC 7518, 3.4). */
    static String withDerSignature(String token) {
        return derTokens.computeIfAbsent(token, ApnsMock::reencoded);
    }

    static final Map<String, String> derTokens = new ConcurrentHashMap<>();

    static String reencoded(String token) {
        int dot = token.lastIndexOf('.');
        byte[] raw;
        try { raw = Base64.getUrlDecoder().decode(token.substring(dot + 1).trim()); }
        catch (IllegalArgumentException notBase64) { return token; }
        if (raw.length != 64) return token;
        ByteArrayOutputStream der = new ByteArrayOutputStream();
        byte[] r = new BigInteger(1, Arrays.copyOf(raw, 32)).toByteArray();
        byte[] s = new BigInteger(1, Arrays.copyOfRange(raw, 32, 64)).toByteArray();
        der.write(0x30); der.write(4 + r.length + s.length);
        for (byte[] number : List.of(r, s)) { der.write(2); der.write(number.length); der.writeBytes(number); }
        return token.substring(0, dot + 1) + Base64.getUrlEncoder().withoutPadding().encodeToString(der.toByteArray());
    }

    static void cut() {
        for (Channel channel : channels) {
            if (!(channel instanceof SocketChannel) || !channel.isOpen()) continue;
            if (!cutByReset) { channel.close(); continue; }
            ((SocketChannel) channel).config().setSoLinger(0);
            if (channel.eventLoop().inEventLoop()) channel.unsafe().closeForcibly();
            else channel.eventLoop().execute(() -> channel.unsafe().closeForcibly());
        }
    }

    static void count(String what) { counts.computeIfAbsent(what, name -> new LongAdder()).increment(); }

    static class Notes implements MockApnsServerListener {
        @Override public void handlePushNotificationAccepted(Http2Headers headers, ByteBuf payload) {
            count("accepted");
            accepted.add(headers.get("apns-id") + " " + headers.get("apns-collapse-id") + " " + System.currentTimeMillis());
        }
        @Override public void handlePushNotificationRejected(Http2Headers headers, ByteBuf payload, RejectionReason reason, Instant at) {
            count(reason.name());
        }
    }

    static ChannelGroup channelsOf(MockApnsServer server) throws ReflectiveOperationException {
        java.lang.reflect.Field field = server.getClass().getSuperclass().getDeclaredField("allChannels");
        field.setAccessible(true);
        return (ChannelGroup) field.get(server);
    }

    static int control() throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", exchange -> {
            String[] words = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8).split(" ");
            String answer = "";
            int status = 200;
            try { answer = told(exchange.getRequestURI().getPath(), words); }
            catch (RuntimeException wrong) { status = 400; answer = wrong.toString(); }
            byte[] bytes = answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
            if (bytes.length > 0) exchange.getResponseBody().write(bytes);
            exchange.close();
        });
        server.start();
        return server.getAddress().getPort();
    }

    static String told(String command, String[] words) {
        switch (command) {
            case "/dead":
                Instant since = Instant.ofEpochMilli(Long.parseLong(words[0]));
                for (int i = 1; i < words.length; i++) dead.put(words[i], since);
                return "";
            case "/bad": bad.add(words[0]); return "";
            case "/foreign": foreign.add(words[0]); return "";
            case "/fail": failure = RejectionReason.valueOf(words[0]); failuresLeft.set(Integer.parseInt(words[1])); return "";
            case "/cut": cutByReset = words[0].equals("rst"); untilCut.set(Integer.parseInt(words[1])); return "";
            case "/reset": bad.clear(); foreign.clear(); dead.clear(); counts.clear(); accepted.clear();
                failuresLeft.set(0); untilCut.set(0); return "";
            case "/quit": System.exit(0); return "";
            case "/accepted": return String.join("\n", accepted);
            case "/counts":
                StringJoiner pairs = new StringJoiner(",", "{", "}");
                counts.forEach((name, number) -> pairs.add("\"" + name + "\":" + number));
                return pairs.toString();
            default: throw new IllegalArgumentException(command);
        }
    }
}
