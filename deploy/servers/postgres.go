package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// PostgresOptions may be left empty: a cluster in a temporary folder.
type PostgresOptions struct {
	// Dir holds the cluster; empty: a temporary folder, removed by Stop.
	// PostgreSQL refuses to run as root; for root it runs as postgres or nobody,
	// who must be able to walk to Dir. The folder of t.TempDir() will not do.
	Dir       string
	NoSync    bool      // faster, and a power cut loses the cluster: for tests
	Log       io.Writer // nil: nowhere
	Supervise bool      // start it again when it crashes
}

// Postgres is a cluster that listens on a Unix socket only. Whoever reaches
// the socket's folder, its owner and root, is let in without a password.
type Postgres struct {
	*Server
	DSN     string // of an empty database of one's own
	cluster *cluster
}

// StartPostgres makes the cluster if Dir has none and returns when it answers
// queries. The programs are those in the folder PAYLOAD_POSTGRES_BIN, else on
// PATH, else the newest of Debian's.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	c, err := makeCluster(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	p := &Postgres{cluster: c, Server: &Server{
		name:       "postgres",
		command:    c.server,
		quit:       syscall.SIGINT, // SIGTERM would wait for clients to leave
		cleanup:    c.remove,
		supervised: o.Supervise,
	}}
	p.ready = func(ctx context.Context) error { return p.execute(ctx, "select 1") }
	if err := start(ctx, p.Server, o.Log); err != nil {
		return nil, err
	}
	if p.DSN, err = p.create(ctx, "payload"); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// NewDatabase makes an empty database, as each test wants its own, and returns
// its DSN.
func (p *Postgres) NewDatabase(ctx context.Context) (string, error) {
	return p.create(ctx, "payload_"+secret(8))
}

// create makes a database unless an earlier run did, and returns its DSN.
func (p *Postgres) create(ctx context.Context, database string) (string, error) {
	err := p.execute(ctx, "create database "+pgx.Identifier{database}.Sanitize())
	const alreadyThere = "42P04"
	if exists := (*pgconn.PgError)(nil); errors.As(err, &exists) && exists.Code == alreadyThere {
		err = nil
	}
	return p.dsn(database), err
}

// execute runs one statement in the database that every cluster has.
func (p *Postgres) execute(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, p.dsn("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

func (p *Postgres) dsn(database string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.User(clusterUser),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {p.cluster.sockets}}.Encode(),
	}).String()
}
