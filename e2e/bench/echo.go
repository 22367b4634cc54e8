package main

import (
	"context"
	"net"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An echo is a bare gRPC server on a Unix socket, and a client of it, that do
// nothing but carry messages: what a call costs at the least.
type echo struct {
	server *grpc.Server
	conn   *grpc.ClientConn
}

// replySize is as long as the façade's answers: a lease with its descriptor and
// token is about 260 bytes, an allocation's record about 300.
const replySize = 280

type echoService interface{}

var echoDescription = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*echoService)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: answer}},
}

var reply = wrapperspb.Bytes(make([]byte, replySize))

func answer(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	return reply, decode(new(wrapperspb.BytesValue))
}

func startEcho(dir string) (*echo, error) {
	path := filepath.Join(dir, "echo.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	e := &echo{server: grpc.NewServer()}
	e.server.RegisterService(&echoDescription, struct{}{})
	go e.server.Serve(listener)
	e.conn, err = grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return e, err
}

// call sends a request of the size that the façade's calls have.
func (e *echo) call(ctx context.Context) error {
	const requestSize = 90 // an id, a request id, a holder
	return e.conn.Invoke(ctx, "/bench.Echo/Echo", wrapperspb.Bytes(make([]byte, requestSize)), new(wrapperspb.BytesValue))
}

func (e *echo) Close() {
	e.conn.Close()
	e.server.Stop()
}
