package servers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// S3Options may be left empty: fresh keys, a free port, and a folder that goes
// with the server.
type S3Options struct {
	Dir       string    // buckets live here; empty: a temporary one, removed by Stop
	Port      int       // 0: a free one
	AccessKey string    // empty: keys made by chance
	SecretKey string    // given together with AccessKey
	Log       io.Writer // nil: nowhere
	Supervise bool      // start it again when it crashes
}

// S3 is an S3 server with one user, region us-east-1, plain HTTP.
type S3 struct {
	*Server
	Endpoint  string // host:port
	URL       string // the same with http://
	AccessKey string
	SecretKey string
}

// StartS3 starts versitygw over a folder and returns when it answers. The
// program is PAYLOAD_VERSITYGW_BIN, else versitygw.
func StartS3(ctx context.Context, o S3Options) (*S3, error) {
	program, err := find("versitygw", "PAYLOAD_VERSITYGW_BIN")
	if err != nil {
		return nil, err
	}
	return startS3(ctx, o, "versitygw", "/health", func(o S3Options, address string) *exec.Cmd {
		return versitygwCommand(program, o, address)
	})
}

// StartMinIO starts the other S3 server that the object tier must pass on. The
// program is PAYLOAD_MINIO_BIN, else minio.
func StartMinIO(ctx context.Context, o S3Options) (*S3, error) {
	program, err := find("minio", "PAYLOAD_MINIO_BIN")
	if err != nil {
		return nil, fmt.Errorf("%w (make test-minio builds it)", err)
	}
	return startS3(ctx, o, "minio", "/minio/health/ready", func(o S3Options, address string) *exec.Cmd {
		return minioCommand(program, o, address)
	})
}

func startS3(ctx context.Context, o S3Options, name, health string, command func(S3Options, string) *exec.Cmd) (*S3, error) {
	if o.AccessKey == "" {
		o.AccessKey, o.SecretKey = secret(10), secret(20)
	}
	var err error
	var remove func()
	if o.Dir == "" {
		o.Dir, remove, err = temporary(name)
	} else {
		o.Dir, err = prepare(o.Dir)
	}
	if err != nil {
		return nil, err
	}
	p := &port{number: o.Port}
	s := &Server{
		name:       name,
		command:    func() *exec.Cmd { return command(o, p.address()) },
		ready:      func(ctx context.Context) error { return healthy(ctx, "http://"+p.address()+health) },
		ports:      []*port{p},
		cleanup:    remove,
		supervised: o.Supervise,
	}
	if err := start(ctx, s, o.Log); err != nil {
		return nil, err
	}
	return &S3{s, p.address(), "http://" + p.address(), o.AccessKey, o.SecretKey}, nil
}

// versitygwCommand hands the keys over in the environment, where ps does not
// show them.
func versitygwCommand(program string, o S3Options, address string) *exec.Cmd {
	data := filepath.Join(o.Dir, "buckets")
	cmd := exec.Command(program, "--port", address, "--health", "/health", "--quiet", "--keep-alive", "posix")
	cmd.Args = append(cmd.Args, attributes(o.Dir)...)
	cmd.Args = append(cmd.Args, data)
	cmd.Env = environment("ROOT_ACCESS_KEY="+o.AccessKey, "ROOT_SECRET_KEY="+o.SecretKey)
	_ = os.Mkdir(data, 0o700) // the server says what is wrong, if something is
	return cmd
}

// attributes tells versitygw where to keep what belongs to an object: beside
// it in extended attributes, or in files of its own where those do not exist.
func attributes(folder string) []string {
	if !errors.Is(unix.Setxattr(folder, "user.payload-manager", []byte("probe"), 0), unix.ENOTSUP) {
		return nil
	}
	sidecar := filepath.Join(folder, "attributes")
	_ = os.Mkdir(sidecar, 0o700)
	return []string{"--sidecar", sidecar}
}

func minioCommand(program string, o S3Options, address string) *exec.Cmd {
	cmd := exec.Command(program, "server", "--quiet", "--address", address, filepath.Join(o.Dir, "minio"))
	cmd.Env = environment(
		"HOME="+o.Dir,
		"MINIO_ROOT_USER="+o.AccessKey,
		"MINIO_ROOT_PASSWORD="+o.SecretKey,
		"MINIO_BROWSER=off",
		"MINIO_UPDATE=off",
		"MINIO_CI_CD=on", // lets it use a folder on the root disk
	)
	return cmd
}

func healthy(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("its health check says " + response.Status)
	}
	return nil
}

func secret(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
