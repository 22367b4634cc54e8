package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/worker/config"
)

var update = flag.Bool("update", false, "write the example file anew")

const exampleFile = "../../deploy/payload-manager.example.yaml"

func TestTheExampleFileIsWhatTheKeysSay(t *testing.T) {
	if *update {
		require.NoError(t, os.WriteFile(exampleFile, config.Example(), 0o644))
	}
	committed, err := os.ReadFile(exampleFile)
	require.NoError(t, err)
	require.Equal(t, string(config.Example()), string(committed), "go generate ./worker/config writes it anew")
}

func TestLoadingTheExampleIsLoadingNothing(t *testing.T) {
	bare, err := config.Load("", nil, nil)
	require.NoError(t, err)
	example, err := config.Load(exampleFile, nil, nil)
	require.NoError(t, err)
	require.Equal(t, bare, example)
}

func TestTheDefaultsWorkOnOneMachine(t *testing.T) {
	c, err := config.Load("", nil, nil)
	require.NoError(t, err)
	require.NotEmpty(t, c.Host.Name)
	require.Equal(t, "/var/lib/payload-manager/api.sock", c.Listen.Socket)
	require.Equal(t, "sqlite:/var/lib/payload-manager/catalog.db", c.Catalog.URL)
	require.Equal(t, "/var/lib/payload-manager/disk", c.Tiers.Disk.Dir)
	require.Equal(t, c, c.Resolve(), "resolving twice changes nothing")
}

func TestALaterSourceWins(t *testing.T) {
	file := write(t, `
data_dir: /srv/file
tiers:
  ram: {capacity: 1GiB}
  disk: {capacity: 2GiB}
relay: {in_flight: 3}
log: {level: debug}
`)
	environ := []string{"PAYLOAD_TIERS_RAM_CAPACITY=3GiB", "PAYLOAD_TIERS_DISK_CAPACITY=4GiB", "PAYLOAD_LOG_FORMAT=", "HOME=/root"}
	c, err := config.Load(file, flags(t, "--tiers.ram.capacity=5GiB"), environ)
	require.NoError(t, err)
	require.EqualValues(t, 5<<30, c.Tiers.RAM.Capacity, "flag over environment over file")
	require.EqualValues(t, 4<<30, c.Tiers.Disk.Capacity, "environment over file")
	require.Equal(t, "/srv/file", c.DataDir, "file over default")
	require.Equal(t, "/srv/file/api.sock", c.Listen.Socket, "what depends on a key follows it")
	require.Equal(t, 3, c.Relay.InFlight)
	require.Equal(t, "debug", c.Log.Level)
	require.Equal(t, "text", c.Log.Format, "an empty variable says nothing")
}

func TestEveryKindOfValueComesFromEverySource(t *testing.T) {
	file := write(t, "tiers: {object: {enabled: true, endpoint: s3:9000, access_key: me, secret_key: \"007\", capacity: 1048576}}\n"+
		"relay: {interval: 1m30s, in_flight: 5}\n")
	environ := []string{
		"PAYLOAD_TIERS_OBJECT_ENABLED=true", "PAYLOAD_TIERS_OBJECT_ENDPOINT=s3:9000", "PAYLOAD_TIERS_OBJECT_ACCESS_KEY=me",
		"PAYLOAD_TIERS_OBJECT_SECRET_KEY=007", "PAYLOAD_TIERS_OBJECT_CAPACITY=1MiB", "PAYLOAD_RELAY_INTERVAL=90s", "PAYLOAD_RELAY_IN_FLIGHT=5",
	}
	given := flags(t, "--tiers.object.enabled", "--tiers.object.endpoint=s3:9000", "--tiers.object.access_key=me",
		"--tiers.object.secret_key=007", "--tiers.object.capacity=1024KiB", "--relay.interval=1.5m", "--relay.in_flight=5")

	fromFile, err := config.Load(file, nil, nil)
	require.NoError(t, err)
	fromEnviron, err := config.Load("", nil, environ)
	require.NoError(t, err)
	fromFlags, err := config.Load("", given, nil)
	require.NoError(t, err)

	require.Equal(t, "007", fromFile.Tiers.Object.SecretKey)
	require.EqualValues(t, 1<<20, fromFile.Tiers.Object.Capacity)
	require.Equal(t, 90*time.Second, fromFile.Relay.Interval)
	require.Equal(t, fromFile, fromEnviron)
	require.Equal(t, fromFile, fromFlags)
}

func TestAnUnknownKeyIsRefusedWithTheOneThatWasMeant(t *testing.T) {
	for _, test := range []struct{ file, variable, want string }{
		{file: "tiers: {ram: {capcity: 1GiB}}", want: "unknown key tiers.ram.capcity: did you mean tiers.ram.capacity?"},
		{file: "teirs: {ram: {capacity: 1GiB}}", want: "unknown key teirs.ram.capacity: did you mean tiers.ram.capacity?"},
		{file: "ram: {capacity: 1GiB}", want: "did you mean tiers.ram.capacity?"},
		{file: "datadir: /srv", want: "did you mean data_dir?"},
		{file: "log: {level: {debug: true}}", want: "did you mean log.level?"},
		{file: "colour: red", want: "payload-manager config lists all keys"},
		{variable: "PAYLOAD_TIERS_RAM_CAPCITY=1", want: "PAYLOAD_TIERS_RAM_CAPCITY: did you mean PAYLOAD_TIERS_RAM_CAPACITY?"},
		{variable: "PAYLOAD_DATADIR=/srv", want: "did you mean PAYLOAD_DATA_DIR?"},
		{variable: "PAYLOAD_COLOUR=red", want: "unknown environment variable PAYLOAD_COLOUR"},
	} {
		_, err := config.Load(write(t, test.file), nil, []string{test.variable})
		require.ErrorIs(t, err, payload.Invalid)
		require.ErrorContains(t, err, test.want)
	}
}

func TestAnUnknownFlagIsRefusedWithTheOneThatWasMeant(t *testing.T) {
	set := pflag.NewFlagSet("payload-manager", pflag.ContinueOnError)
	config.Flags(set)
	err := config.FlagError(set.Parse([]string{"--tiers.ram.capcity=1GiB"}))
	require.ErrorIs(t, err, payload.Invalid)
	require.ErrorContains(t, err, "unknown flag --tiers.ram.capcity: did you mean --tiers.ram.capacity?")

	err = set.Parse([]string{"--tiers.ram.capacity=lots"})
	require.ErrorContains(t, err, "--tiers.ram.capacity")
	require.ErrorContains(t, err, "write 512MiB or 4GB")
	require.Equal(t, err, config.FlagError(err))
}

func TestVariablesOfOthersAreLeftAlone(t *testing.T) {
	_, err := config.Load("", nil, []string{
		"PAYLOAD_ADDRESS=/run/api.sock", "PAYLOAD_TEST_MINIO=1", "PAYLOAD_TEMPORAL_BIN=/usr/bin/temporal",
		// what Kubernetes sets for services called payload-manager and payload
		"PAYLOAD_MANAGER_SERVICE_HOST=10.0.0.1", "PAYLOAD_MANAGER_SERVICE_PORT=7400", "PAYLOAD_MANAGER_SERVICE_PORT_GRPC=7400",
		"PAYLOAD_MANAGER_PORT=tcp://10.0.0.1:7400", "PAYLOAD_MANAGER_PORT_7400_TCP=tcp://10.0.0.1:7400",
		"PAYLOAD_MANAGER_PORT_7400_TCP_PROTO=tcp", "PAYLOAD_SERVICE_HOST=10.0.0.2", "PAYLOAD_PORT_80_TCP_ADDR=10.0.0.2",
	})
	require.NoError(t, err)
}

func TestFlagsOfOthersAreLeftAlone(t *testing.T) {
	set := pflag.NewFlagSet("payload-manager", pflag.ContinueOnError)
	config.Flags(set)
	set.String("config", "", "")
	require.NoError(t, set.Parse([]string{"--config=x", "--log.level=warn"}))
	c, err := config.Load("", set, nil)
	require.NoError(t, err)
	require.Equal(t, "warn", c.Log.Level)
}

// Every line is a configuration that is refused, and the words that say why.
func TestBadConfigurationsAreRefusedByKey(t *testing.T) {
	const object = "tiers: {object: {enabled: true, endpoint: s3:9000, access_key: me, secret_key: no, "
	for _, test := range []struct{ file, want string }{
		{"- a\n- b", "not YAML of keys and values"},
		{"log: {level: info", "not YAML of keys and values"},
		{"log: {level: info}\nlog: {level: warn}", "already defined"},
		{"tiers: 5", "tiers is a section"},
		{"tiers: {ram: [1]}", "tiers.ram is a section"},
		{"tiers: {ram: {capacity: }}", "tiers.ram.capacity has no value"},
		{"tiers: {ram: {capacity: lots}}", `tiers.ram.capacity: "lots" is not a size`},
		{"tiers: {ram: {capacity: -1}}", `tiers.ram.capacity: "-1" is not a size`},
		{"tiers: {ram: {capacity: 99999999TiB}}", "tiers.ram.capacity"},
		{"tiers: {ram: {capacity: [1GiB]}}", "tiers.ram.capacity takes a size"},
		{"tiers: {ram: {capacity: 0}}", "tiers.ram.capacity: say how much memory"},
		{"tiers: {ram: {enabled: perhaps}}", `tiers.ram.enabled: "perhaps" is not true or false`},
		{"tiers: {ram: {enabled: false}, disk: {enabled: false}}", "tiers: all are off"},
		{"host: {name: 17}", "host.name takes text, in quotes"},
		{"host: {name: a b}", "host.name: use at most 253 letters"},
		{"host: {name: -a}", "host.name"},
		{`data_dir: ""`, "data_dir: name a folder"},
		{"data_dir: 2001-01-01", "data_dir takes text, in quotes"},
		{"data_dir: /" + strings.Repeat("a", 100), "listen.socket: its path or door.sock's is 111 bytes long"},
		{"listen: {socket: /run/door.sock}", "listen.socket: door.sock is the data door's name"},
		{"listen: {tcp: 7400}", "listen.tcp takes text"},
		{`listen: {tcp: ":7400"}`, "listen.tcp: only loopback"},
		{"listen: {tcp: 0.0.0.0:7400}", "listen.tcp: only loopback"},
		{`listen: {tcp: "[::]:7400"}`, "listen.tcp: only loopback"},
		{"listen: {tcp: 192.168.1.5:7400}", "listen.tcp: only loopback"},
		{"listen: {tcp: localhost.example.com:7400}", "listen.tcp: only loopback"},
		{"listen: {tcp: 127.0.0.1}", "listen.tcp"},
		{"listen: {tcp: 127.0.0.1:http}", "listen.tcp"},
		{"listen: {tcp: 127.0.0.1:70000}", "listen.tcp"},
		{"catalog: {url: /var/catalog.db}", "catalog.url: use sqlite:PATH"},
		{"catalog: {url: mysql://me:hunter2@db}", "catalog.url: use sqlite:PATH"},
		{`catalog: {url: "sqlite:"}`, "catalog.url: sqlite: needs"},
		{"catalog: {url: postgres:db}", "catalog.url: this is no PostgreSQL URL"},
		{"catalog: {url: memory:x}", "catalog.url"},
		{"tiers: {object: {enabled: true}}", "tiers.object.endpoint: write host:port"},
		{"tiers: {object: {enabled: true}}", "tiers.object.access_key"},
		{"tiers: {object: {enabled: true}}", "tiers.object.secret_key_file"},
		{"tiers: {object: {enabled: true, endpoint: https://s3}}", "tiers.object.secure chooses HTTPS"},
		{object + "secret_key_file: /run/secret}}", "tiers.object.secret_key: tiers.object.secret_key_file is set too"},
		{object + "bucket: My_Bucket}}", "tiers.object.bucket"},
		{"temporal: {address: localhost}", "temporal.address: write host:port"},
		{"temporal: {address: http://localhost:7233}", "temporal.address"},
		{"temporal: {ui: localhost:8233}", "temporal.ui"},
		{"relay: {interval: 5}", `relay.interval: "5" is not a duration`},
		{"relay: {interval: -5s}", "relay.interval: use a positive duration"},
		{"relay: {in_flight: 0}", "relay.in_flight: at least one"},
		{"relay: {in_flight: 1.5}", `relay.in_flight: "1.5" is not a whole number`},
		{"lifecycle: {sweep: sometimes}", "lifecycle.sweep: write five fields of cron"},
		{"lifecycle: {sweep: TZ=UTC}", "lifecycle.sweep"},
		{`lifecycle: {sweep: ""}`, "lifecycle.sweep"},
		{"lifecycle: {grace: -1s}", "lifecycle.grace"},
		{"lifecycle: {retention: 0s}", "lifecycle.retention"},
		{"worker: {copies: 0}", "worker.copies"},
		{"log: {level: loud}", "log.level: use debug"},
		{"log: {format: xml}", "log.format"},
		{"shutdown_grace: 0s", "shutdown_grace"},
	} {
		_, err := config.Load(write(t, test.file), nil, nil)
		require.ErrorIs(t, err, payload.Invalid, test.file)
		require.ErrorContains(t, err, test.want, test.file)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestEverythingThatIsWrongIsSaidAtOnce(t *testing.T) {
	_, err := config.Load("", nil, []string{"PAYLOAD_LOG_LEVEL=loud", "PAYLOAD_WORKER_COPIES=0"})
	require.ErrorContains(t, err, "worker.copies: at least one copy at a time; log.level: use debug")
}

func TestConfigurationsThatAreFine(t *testing.T) {
	for _, file := range []string{
		"",
		"tiers:\n  ram:\nlog: {}",
		"tiers.ram.capacity: 1GiB",
		"listen: {tcp: 127.0.0.1:0}",
		`listen: {tcp: "[::1]:7400"}`,
		"listen: {tcp: localhost:7400}",
		"catalog: {url: postgres://me:secret@db/payloads}",
		`catalog: {url: "memory:"}`,
		"lifecycle: {sweep: 0 3 * * *}",
		"lifecycle: {sweep: '@hourly'}",
		"tiers: {ram: {enabled: false, capacity: 0}}",
		"temporal: {address: temporal.example.com:7233, ui: https://temporal.example.com}",
	} {
		_, err := config.Load(write(t, file), nil, nil)
		require.NoError(t, err, file)
	}
}

func TestAFileThatCannotBeReadIsNotNamed(t *testing.T) {
	_, err := config.Load("/nowhere/at-all.yaml", nil, nil)
	require.ErrorIs(t, err, payload.Invalid)
	require.ErrorContains(t, err, "no such file or directory")
	require.NotContains(t, err.Error(), "nowhere")
}

func TestDefaultsCanBeOthers(t *testing.T) {
	defaults := config.Default()
	defaults.DataDir = ".dev"
	c, err := defaults.With("", nil, nil)
	require.NoError(t, err)
	require.Equal(t, ".dev/api.sock", c.Listen.Socket)
	c, err = defaults.With("", flags(t, "--data_dir=/srv"), nil)
	require.NoError(t, err)
	require.Equal(t, "/srv/api.sock", c.Listen.Socket)
}

func TestSizesAreWrittenAsTheyAreRead(t *testing.T) {
	for text, want := range map[string]config.Size{"0": 0, "1": 1, "1023": 1023, "1KiB": 1 << 10, "4GB": 4e9, "1.5GiB": 3 << 29, "1025TiB": 1025 << 40} {
		var size, again config.Size
		require.NoError(t, size.UnmarshalText([]byte(text)))
		require.Equal(t, want, size)
		require.NoError(t, again.UnmarshalText([]byte(size.String())))
		require.Equal(t, want, again)
	}
}

func write(t *testing.T, content string) string {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	set := pflag.NewFlagSet("payload-manager", pflag.ContinueOnError)
	config.Flags(set)
	require.NoError(t, set.Parse(args))
	return set
}
