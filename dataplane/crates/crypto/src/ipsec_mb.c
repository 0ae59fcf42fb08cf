/* A batch of ChaCha20-Poly1305 packets through intel-ipsec-mb's job API. In C because the library's structures are
   large and change from release to release; the header knows them, a hand-written binding would not. */
#include <intel-ipsec-mb.h>
#include <stdint.h>

#if IMB_VERSION_NUM < IMB_VERSION(1, 1, 0)
#error "intel-ipsec-mb 1.1 or newer is needed"
#endif

/* The same as PacketJob in ipsec_mb.rs. */
struct packet_job {
        uint8_t *text;      /* encrypted or decrypted in place */
        uint64_t len;       /* bytes of text */
        const uint8_t *key; /* 32 bytes */
        uint8_t *tag;       /* 16 bytes, written */
        const uint8_t *aad;
        uint64_t aad_len;
        uint8_t nonce[12];
};

enum architecture { SSE = 0, AVX2 = 1, AVX512 = 2 };

IMB_MGR *wirelane_imb_new(int architecture)
{
        IMB_MGR *manager = alloc_mb_mgr(0);

        if (manager == NULL)
                return NULL;
        switch (architecture) {
        case AVX512:
                init_mb_mgr_avx512(manager);
                break;
        case AVX2:
                init_mb_mgr_avx2(manager);
                break;
        default:
                init_mb_mgr_sse(manager);
        }
        if (imb_get_errno(manager) != 0) {
                free_mb_mgr(manager);
                return NULL;
        }
        return manager;
}

void wirelane_imb_free(IMB_MGR *manager) { free_mb_mgr(manager); }

/* Returns 0, or -1 if the library did not complete a job, which it always does at once for this algorithm. The
   unchecked submit is sound because every field it would check is set here from non-null pointers and true lengths. */
int wirelane_imb_process(IMB_MGR *manager, const struct packet_job *packets, uint64_t count, int encrypt)
{
        for (uint64_t i = 0; i < count; i++) {
                const struct packet_job *packet = &packets[i];
                IMB_JOB *job = IMB_GET_NEXT_JOB(manager);

                job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
                job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
                job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
                job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
                job->enc_keys = packet->key;
                job->dec_keys = packet->key;
                job->key_len_in_bytes = 32;
                job->iv = packet->nonce;
                job->iv_len_in_bytes = sizeof packet->nonce;
                job->src = packet->text;
                job->dst = packet->text;
                job->cipher_start_src_offset_in_bytes = 0;
                job->hash_start_src_offset_in_bytes = 0;
                job->msg_len_to_cipher_in_bytes = packet->len;
                job->msg_len_to_hash_in_bytes = packet->len;
                job->auth_tag_output = packet->tag;
                job->auth_tag_output_len_in_bytes = 16;
                job->u.CHACHA20_POLY1305.aad = packet->aad;
                job->u.CHACHA20_POLY1305.aad_len_in_bytes = packet->aad_len;
                job = IMB_SUBMIT_JOB_NOCHECK(manager);
                if (job == NULL || job->status != IMB_STATUS_COMPLETED)
                        return -1;
        }
        return 0;
}
