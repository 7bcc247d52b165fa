// A real S3 server for the tests that encrypts what it stores: MinIO, with a key of its own (MINIO_KMS_SECRET_KEY).
package main

import (
	"os"

	"github.com/minio/minio/cmd"
)

func main() {
	cmd.Main(os.Args)
}
