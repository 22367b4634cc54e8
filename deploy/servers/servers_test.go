package servers_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/deploy/servers"
)

func TestTemporalRunsAWorkflow(t *testing.T) {
	temporal, err := servers.StartTemporal(t.Context(), servers.TemporalOptions{Log: t.Output()})
	require.NoError(t, err)
	defer temporal.Stop()

	require.Equal(t, "hello", runHello(t, temporal.Address, temporal.Namespace))
	requirePage(t, temporal.UI)

	require.NoError(t, temporal.NewNamespace(t.Context(), "another"))
	require.Equal(t, "hello", runHello(t, temporal.Address, "another"))
}

func TestTemporalKeepsWorkflowsOverACrash(t *testing.T) {
	temporal, err := servers.StartTemporal(t.Context(), servers.TemporalOptions{
		Dir: t.TempDir(), UIPort: servers.NoUI, Log: t.Output(),
	})
	require.NoError(t, err)
	defer temporal.Stop()
	require.Empty(t, temporal.UI)
	c := dialTemporal(t, temporal.Address, temporal.Namespace)
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "one", TaskQueue: "q"}, hello)
	require.NoError(t, err)

	temporal.Kill()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = c.DescribeWorkflowExecution(short, "one", "")
	require.Error(t, err, "a killed server does not answer")

	require.NoError(t, temporal.Restart(t.Context()))
	_, err = c.DescribeWorkflowExecution(t.Context(), "one", "")
	require.NoError(t, err)
}

func TestS3KeepsObjectsOverACrash(t *testing.T) {
	s3, err := servers.StartS3(t.Context(), servers.S3Options{Dir: t.TempDir(), Log: t.Output()})
	require.NoError(t, err)
	keepsObjects(t, s3)
}

func TestMinIOKeepsObjectsOverACrash(t *testing.T) {
	if os.Getenv("PAYLOAD_TEST_MINIO") == "" {
		t.Skip("make test-minio runs it")
	}
	s3, err := servers.StartMinIO(t.Context(), servers.S3Options{Dir: t.TempDir(), Log: t.Output()})
	require.NoError(t, err)
	keepsObjects(t, s3)
}

func keepsObjects(t *testing.T, s3 *servers.S3) {
	defer s3.Stop()
	c := dialS3(t, s3)
	require.NoError(t, c.MakeBucket(t.Context(), "bucket", minio.MakeBucketOptions{}))
	body := bytes.Repeat([]byte("payload "), 1<<17)
	_, err := c.PutObject(t.Context(), "bucket", "a/key", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	require.NoError(t, err)

	s3.Kill()
	require.NoError(t, s3.Restart(t.Context()))

	object, err := c.GetObject(t.Context(), "bucket", "a/key", minio.GetObjectOptions{})
	require.NoError(t, err)
	defer object.Close()
	var got bytes.Buffer
	_, err = got.ReadFrom(object)
	require.NoError(t, err)
	require.Equal(t, body, got.Bytes())
}

func TestS3RefusesOtherKeys(t *testing.T) {
	s3, err := servers.StartS3(t.Context(), servers.S3Options{})
	require.NoError(t, err)
	defer s3.Stop()
	s3.SecretKey = "wrong"
	_, err = dialS3(t, s3).ListBuckets(t.Context())
	require.Error(t, err)
}

func TestPostgresKeepsRowsOverACrash(t *testing.T) {
	postgres, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{Log: t.Output()})
	require.NoError(t, err)
	defer postgres.Stop()
	query(t, postgres.DSN, "create table kept (n int)")
	query(t, postgres.DSN, "insert into kept values (7)")

	postgres.Kill()
	_, err = pgx.Connect(t.Context(), postgres.DSN)
	require.Error(t, err, "a killed server does not answer")

	require.NoError(t, postgres.Restart(t.Context()))
	require.Equal(t, "7", query(t, postgres.DSN, "select n::text from kept"))
}

func TestPostgresDatabasesAreApart(t *testing.T) {
	postgres, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{NoSync: true})
	require.NoError(t, err)
	defer postgres.Stop()
	one, err := postgres.NewDatabase(t.Context())
	require.NoError(t, err)
	other, err := postgres.NewDatabase(t.Context())
	require.NoError(t, err)
	query(t, one, "create table here (n int)")
	require.Equal(t, "true", query(t, other, "select (to_regclass('here') is null)::text"))
}

func TestPostgresTakesUpAnOldCluster(t *testing.T) {
	folder := walkable(t)
	first, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{Dir: folder})
	require.NoError(t, err)
	query(t, first.DSN, "create table kept (n int)")
	first.Stop()

	second, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{Dir: folder})
	require.NoError(t, err)
	defer second.Stop()
	require.Equal(t, "kept", query(t, second.DSN, "select 'kept'::regclass::text"))
}

func TestPostgresSaysThatItCannotReachItsFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs it as somebody else")
	}
	locked := t.TempDir()
	require.NoError(t, os.Chmod(locked, 0o700))
	_, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{Dir: locked + "/cluster"})
	require.ErrorContains(t, err, "choose another folder")
}

// walkable is a temporary folder that other users can walk to.
func walkable(t *testing.T) string {
	folder, err := os.MkdirTemp("", "servers")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return folder
}

func hello(workflow.Context) (string, error) { return "hello", nil }

func runHello(t *testing.T, address, namespace string) string {
	c := dialTemporal(t, address, namespace)
	w := worker.New(c, "q", worker.Options{})
	w.RegisterWorkflow(hello)
	require.NoError(t, w.Start())
	defer w.Stop()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "q"}, hello)
	require.NoError(t, err)
	var said string
	require.NoError(t, run.Get(t.Context(), &said))
	return said
}

func dialTemporal(t *testing.T, address, namespace string) client.Client {
	c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func dialS3(t *testing.T, s3 *servers.S3) *minio.Client {
	c, err := minio.New(s3.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, "")})
	require.NoError(t, err)
	return c
}

func query(t *testing.T, dsn, sql string) string {
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), sql)
	require.NoError(t, err)
	said, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(said, ",")
}

func requirePage(t *testing.T, url string) {
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
}
