package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// clusterUser is the superuser of every cluster.
const clusterUser = "payload"

// A Unix socket's path has 107 bytes at most; this one ends in /.s.PGSQL.5432.
const maxSockets = 107 - len("/.s.PGSQL.5432")

// A cluster is where PostgreSQL keeps its files, and as whom it runs.
type cluster struct {
	programs  string // the folder of initdb and postgres
	folder    string
	sockets   string
	user      *syscall.Credential // nil: as ourselves
	noSync    bool
	temporary []string // folders that go with it
}

// makeCluster prepares the files of a server, which is not started yet.
func makeCluster(ctx context.Context, o PostgresOptions) (*cluster, error) {
	c := &cluster{noSync: o.NoSync}
	err := c.lookAround()
	if err == nil {
		err = c.makeFolders(o.Dir)
	}
	if err == nil {
		err = c.initialize(ctx)
	}
	if err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

// lookAround finds the programs and somebody to run them.
func (c *cluster) lookAround() error {
	var err error
	if c.programs, err = findPostgres(); err == nil {
		c.user, err = notRoot()
	}
	return err
}

// findPostgres wants a folder that has initdb: a machine may have a lone
// postgres on PATH, which cannot make a cluster.
func findPostgres() (string, error) {
	if folder := os.Getenv("PAYLOAD_POSTGRES_BIN"); folder != "" {
		return folder, nil
	}
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(folders, func(a, b string) int { return major(b) - major(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		folders = append([]string{filepath.Dir(path)}, folders...)
	}
	for _, folder := range folders {
		if has(folder, "initdb") && has(folder, "postgres") {
			return folder, nil
		}
	}
	return "", errors.New("it is not here: run make tools, or name the folder of initdb in PAYLOAD_POSTGRES_BIN")
}

// notRoot names somebody else when we are root, whom PostgreSQL refuses.
func notRoot() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("it refuses to run as root, and there is no user postgres or nobody")
}

func (c *cluster) makeFolders(folder string) error {
	var err error
	if folder == "" {
		c.folder, err = c.makeTemporary()
	} else {
		c.folder, err = prepare(folder)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(c.give(c.folder), c.reachable()); err != nil {
		return err
	}
	return c.makeSockets()
}

func (c *cluster) makeTemporary() (string, error) {
	folder, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return "", err
	}
	c.temporary = append(c.temporary, folder)
	return folder, c.give(folder)
}

// makeSockets puts the socket beside the data unless its path were too long.
func (c *cluster) makeSockets() error {
	c.sockets = filepath.Join(c.folder, "sockets")
	if len(c.sockets) > maxSockets {
		var err error
		c.sockets, err = c.makeTemporary()
		return err
	}
	if err := os.Mkdir(c.sockets, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return c.give(c.sockets)
}

// give hands a folder to the user that the server runs as.
func (c *cluster) give(folder string) error {
	if c.user == nil {
		return nil
	}
	return os.Chown(folder, int(c.user.Uid), int(c.user.Gid))
}

// reachable says it in one line when another user cannot walk to the folder;
// PostgreSQL would take a page.
func (c *cluster) reachable() error {
	if c.user == nil {
		return nil
	}
	for folder := filepath.Dir(c.folder); folder != "/"; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 && info.Sys().(*syscall.Stat_t).Uid != c.user.Uid {
			return fmt.Errorf("it does not run as root, and user %d cannot enter %s: choose another folder", c.user.Uid, folder)
		}
	}
	return nil
}

func (c *cluster) data() string { return filepath.Join(c.folder, "data") }

// initialize makes the cluster once. A half made one never bears the name.
func (c *cluster) initialize(ctx context.Context) error {
	if _, err := os.Stat(c.data()); err == nil {
		return nil
	}
	half := c.data() + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := c.initdb(ctx, half); err != nil {
		return err
	}
	return os.Rename(half, c.data())
}

func (c *cluster) initdb(ctx context.Context, folder string) error {
	cmd := c.command("initdb", "--pgdata="+folder, "--username="+clusterUser,
		"--auth=trust", "--encoding=UTF8", "--no-locale")
	if c.noSync {
		cmd.Args = append(cmd.Args, "--no-sync")
	}
	var output tail
	p, err := spawn(cmd, &output)
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.end(syscall.SIGKILL, 0)
	}
	if p.err != nil {
		return fmt.Errorf("initdb: %w: %s", p.err, output.words())
	}
	return nil
}

func (c *cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.programs, program), args...)
	cmd.Dir = c.folder
	cmd.Env = environment("HOME=" + c.folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user}
	return cmd
}

func (c *cluster) server() *exec.Cmd {
	settings := []string{
		"listen_addresses=",
		"unix_socket_directories=" + c.sockets,
		"max_connections=200",
		"dynamic_shared_memory_type=mmap", // a killed server leaves nothing in /dev/shm
	}
	if c.noSync {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	args := []string{"-D", c.data()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return c.command("postgres", args...)
}

func (c *cluster) remove() {
	for _, folder := range c.temporary {
		_ = os.RemoveAll(folder)
	}
}

func has(folder, program string) bool {
	_, err := exec.LookPath(filepath.Join(folder, program))
	return err == nil
}

// major reads 15 out of /usr/lib/postgresql/15/bin.
func major(folder string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return n
}
