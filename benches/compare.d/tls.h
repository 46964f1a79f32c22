// The few functions of OpenSSL 3 that the load needs, written down here so that the library alone
// is enough: its headers are seldom installed, it is wherever curl or nginx are.
#pragma once
#ifdef WITH_TLS
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
const void *TLS_client_method(void);
SSL_CTX *SSL_CTX_new(const void *method);
long SSL_CTX_ctrl(SSL_CTX *context, int command, long number, void *data);
int SSL_CTX_set_alpn_protos(SSL_CTX *context, const unsigned char *protocols, unsigned length);
SSL *SSL_new(SSL_CTX *context);
void SSL_free(SSL *ssl);
long SSL_ctrl(SSL *ssl, int command, long number, void *data);
int SSL_set_fd(SSL *ssl, int socket);
int SSL_connect(SSL *ssl);
int SSL_read(SSL *ssl, void *data, int length);
int SSL_write(SSL *ssl, const void *data, int length);
int SSL_get_error(const SSL *ssl, int result);
int SSL_set_session(SSL *ssl, SSL_SESSION *session);
int SSL_session_reused(const SSL *ssl);
SSL_SESSION *SSL_get1_session(SSL *ssl);
void SSL_SESSION_free(SSL_SESSION *session);
void SSL_set_quiet_shutdown(SSL *ssl, int mode);
int SSL_shutdown(SSL *ssl);
void ERR_clear_error(void);
enum { WANT_READ = 2, WANT_WRITE = 3 };
enum { SET_MODE = 33, PARTIAL_WRITES_THAT_MOVE = 3, SET_SERVER_NAME = 55, SET_MIN_VERSION = 123,
       TLS_1_3 = 0x0304 };

static inline SSL_CTX *tls_context(const char *protocol) {
  unsigned char protocols[16] = {strlen(protocol)};
  memcpy(protocols + 1, protocol, protocols[0]);
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_ctrl(context, SET_MIN_VERSION, TLS_1_3, NULL);
  SSL_CTX_set_alpn_protos(context, protocols, protocols[0] + 1);
  return context;
}

static inline SSL *tls_begin(SSL_CTX *context, int socket, SSL_SESSION *session) {
  SSL *ssl = SSL_new(context);
  SSL_ctrl(ssl, SET_MODE, PARTIAL_WRITES_THAT_MOVE, NULL);
  SSL_ctrl(ssl, SET_SERVER_NAME, 0, "shop.example.com");
  SSL_set_fd(ssl, socket);
  if (session) SSL_set_session(ssl, session);
  return ssl;
}

static inline bool tls_waits(SSL *ssl, int result) {
  int error = SSL_get_error(ssl, result);
  return error == WANT_READ || error == WANT_WRITE;
}
#endif
